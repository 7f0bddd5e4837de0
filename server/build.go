package server

import (
	"errors"
	"io"

	"github.com/moby/moby/api/types/jsonstream"

	"github.com/cove-containers/cove/api"
)

// build makes an image of a context and a Dockerfile. Nothing is sent before the first message, so that a call that
// cannot begin fails with a status code; what goes wrong later is told in the stream.
func (s *Server) build(c *call) error {
	o, err := buildOptions(c)
	if err != nil {
		return err
	}
	var body io.Reader = c.Body
	out := &progress{c: c}
	err = s.Builds.Build(c.Context(), o, body, func(m jsonstream.Message) error { return out.write(m) })
	var failed *api.BuildFailure
	if errors.As(err, &failed) {
		return out.failWith(failed.Message, failed.Code)
	}
	return out.end(err)
}

// buildCancel ends a running build by the ID that its client gave it.
func (s *Server) buildCancel(c *call) error {
	id := c.query.get("id")
	if id == "" {
		return bad("build ID not provided")
	}
	s.Builds.CancelBuild(id)
	return nil
}
