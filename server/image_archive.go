package server

import (
	"net/http"

	"github.com/cove-containers/cove/image"
)

// imageLoad reads images out of an archive. As with dockerd, failing is the last message of a stream with status 200.
func (s *Server) imageLoad(c *call) error {
	platforms, err := c.archivePlatforms()
	if err != nil {
		return err
	}
	out := &progress{c: c}
	err = s.Transfers.Load(c.Context(), c.Body, image.LoadOptions{
		Platforms: platforms,
		Quiet:     c.query.boolOr("quiet", true),
		Progress:  out.send,
	})
	if err != nil {
		return out.fail(err)
	}
	return out.end(nil)
}

// imageSave writes images as an archive. An archive that breaks off is a connection that breaks off: whoever saves it
// notices.
func (s *Server) imageSave(c *call) error {
	names := c.query["names"]
	if name := c.name("name"); name != "" {
		names = []string{name}
	}
	platforms, err := c.archivePlatforms()
	if err != nil {
		return err
	}
	err = s.Transfers.Save(c.Context(), names, platforms, archiveWriter{c})
	if err != nil && c.begun {
		s.Log.Warn("saving images broke off", "images", names, "error", err)
		panic(http.ErrAbortHandler)
	}
	return err
}

// archiveWriter begins the answer with the first byte.
type archiveWriter struct{ c *call }

func (a archiveWriter) Write(p []byte) (int, error) {
	if !a.c.begun {
		if header := a.c.w.Header(); header.Get("Content-Type") == "" {
			header.Set("Content-Type", "application/x-tar")
		}
		a.c.status(http.StatusOK)
	}
	return a.c.w.Write(p)
}
