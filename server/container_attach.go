package server

import "github.com/cove-containers/cove/engine"

// containerAttach connects the client's connection to the container's streams. It returns when that is over.
func (s *Server) containerAttach(c *call) error {
	ctx, cancel := c.hijackable()
	defer cancel()
	h := &hijacker{call: c, left: cancel}
	defer h.close()
	return s.Streams.ContainerAttach(ctx, c.name("id"), engine.AttachOptions{
		Stdin:      c.query.bool("stdin"),
		Stdout:     c.query.bool("stdout"),
		Stderr:     c.query.bool("stderr"),
		Logs:       c.query.bool("logs"),
		Stream:     c.query.bool("stream"),
		DetachKeys: c.query.get("detachKeys"),
		Open:       h.open,
	})
}
