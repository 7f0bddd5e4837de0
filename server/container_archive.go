package server

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"time"

	ct "github.com/moby/moby/api/types/container"

	"github.com/cove-containers/cove/files"
)

// pathStatHeader carries what is at a path in a container, as JSON in base64.
const pathStatHeader = "X-Docker-Container-Path-Stat"

// longAgo is a deadline that has passed.
var longAgo = time.Unix(1, 0)

func (c *call) archivePath() (string, error) {
	p := c.query.get("path")
	if p == "" {
		return "", bad("bad parameter: path cannot be empty")
	}
	return p, nil
}

func (c *call) describePath(st ct.PathStat) error {
	raw, err := json.Marshal(st)
	if err == nil {
		c.w.Header().Set(pathStatHeader, base64.StdEncoding.EncodeToString(raw))
	}
	return err
}

func (s *Server) archiveStat(c *call) error {
	p, err := c.archivePath()
	if err != nil {
		return err
	}
	st, err := s.Files.Stat(c.Context(), c.name("id"), p)
	if err != nil {
		return err
	}
	return c.describePath(st)
}

func (s *Server) archiveGet(c *call) error {
	p, err := c.archivePath()
	if err != nil {
		return err
	}
	begin := func(st ct.PathStat) io.Writer {
		if err := c.describePath(st); err != nil {
			s.Log.Error("cannot describe a file", "error", err)
		}
		return archiveWriter{c}
	}
	return c.brokenOff(s.Files.CopyOut(c.Context(), c.name("id"), p, begin, c.writing()))
}

func (s *Server) containerExport(c *call) error {
	begin := func() io.Writer {
		c.w.Header().Set("Content-Type", "application/octet-stream")
		return archiveWriter{c}
	}
	return c.brokenOff(s.Files.Export(c.Context(), c.name("id"), begin, c.writing()))
}

func (s *Server) archivePut(c *call) error {
	p, err := c.archivePath()
	if err != nil {
		return err
	}
	o := files.InOptions{KeepTypes: c.query.bool("noOverwriteDirNonDir"), AsUser: c.query.bool("copyUIDGID")}
	// The context of the request ends only when its body is read, so a client that leaves shows up as a failing read.
	line := files.Line{Cut: func() { _ = http.NewResponseController(c.w).SetReadDeadline(longAgo) }}
	return s.Files.CopyIn(c.Context(), c.name("id"), p, c.Body, o, line)
}

// writing lets a copy to the client be ended while the client takes nothing.
func (c *call) writing() files.Line {
	return files.Line{Cut: func() { _ = http.NewResponseController(c.w).SetWriteDeadline(longAgo) }}
}

// brokenOff ends the connection when an archive could not be written to its end: whoever reads it notices.
func (c *call) brokenOff(err error) error {
	if err == nil || !c.begun {
		return err
	}
	if !gone(c.Context(), err) {
		c.server.Log.Warn("an archive broke off", "call", c.Method+" "+c.URL.Path, "error", err)
	}
	panic(http.ErrAbortHandler)
}
