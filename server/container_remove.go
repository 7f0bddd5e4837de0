package server

import (
	"net/http"

	"github.com/cove-containers/cove/engine"
)

func (s *Server) containerRemove(c *call) error {
	if c.query.bool("link") {
		return missing("removing a link")
	}
	o := engine.RemoveOptions{Force: c.query.bool("force"), Volumes: c.query.bool("v")}
	if err := s.Lives.ContainerRemove(c.Context(), c.name("id"), o); err != nil {
		return err
	}
	c.status(http.StatusNoContent)
	return nil
}
