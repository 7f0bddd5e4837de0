package server

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	js "github.com/moby/moby/api/types/jsonstream"

	"github.com/cove-containers/cove/snapshot"
)

// imageImport makes an image out of the archive of a root file system: the body, or what is at a URL. The last message
// tells the image's ID.
func (s *Server) imageImport(c *call, from string) error {
	name, err := wantedName(c.query.get("repo"), c.query.get("tag"))
	if err != nil {
		return err
	}
	o := snapshot.ImportOptions{Name: name, Comment: c.query.get("message"), Changes: c.query["changes"]}
	if raw := c.query.get("platform"); raw != "" && c.since(32) {
		if o.Platform, err = parsePlatform(raw); err != nil {
			return err
		}
	}
	out := &progress{c: c}
	body := io.Reader(c.Body)
	if from != "-" {
		answer, err := fetch(c, from, out)
		if err != nil {
			return out.end(err)
		}
		defer answer.Close()
		body = answer
	}
	if o.Comment == "" {
		o.Comment = "Imported from " + from
	}
	id, err := s.Captures.Import(c.Context(), body, o)
	if err == nil {
		out.send(js.Message{Status: id.String()})
	}
	return out.end(err)
}

// fetch begins to download what is to be imported.
func fetch(c *call, from string, out *progress) (io.ReadCloser, error) {
	if !strings.Contains(from, "://") {
		from = "http://" + from
	}
	u, err := url.Parse(from)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, bad(fmt.Sprintf("invalid URL to import from: %q", from))
	}
	request, err := http.NewRequestWithContext(c.Context(), http.MethodGet, from, nil)
	if err != nil {
		return nil, bad(err.Error())
	}
	out.send(js.Message{Status: "Downloading from " + u.Redacted()})
	web := &http.Client{Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, ResponseHeaderTimeout: time.Minute, DisableKeepAlives: true}}
	answer, err := web.Do(request)
	if err != nil {
		return nil, fmt.Errorf("download: %w", err)
	}
	if answer.StatusCode != http.StatusOK {
		answer.Body.Close()
		return nil, fmt.Errorf("download %s: got HTTP status code %d", u.Redacted(), answer.StatusCode)
	}
	return answer.Body, nil
}
