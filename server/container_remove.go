package server

import (
	"net/http"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/cove-containers/cove/engine"
)

func (s *Server) containerRemove(c *call) error {
	if c.query.bool("link") {
		return s.linkRemove(c)
	}
	o := engine.RemoveOptions{Force: c.query.bool("force"), Volumes: c.query.bool("v")}
	if err := s.Lives.ContainerRemove(c.Context(), c.name("id"), o); err != nil {
		return err
	}
	c.status(http.StatusNoContent)
	return nil
}

// linkRemove refuses to remove a link, "PARENT/ALIAS", in the words for what the name stands for.
func (s *Server) linkRemove(c *call) error {
	parent, _, link := strings.Cut(strings.TrimPrefix(c.name("id"), "/"), "/")
	if _, err := s.Containers.ContainerInspect(c.Context(), parent, false); err != nil {
		return err
	}
	if !link {
		return errdefs.ErrConflict.WithMessage("Conflict, cannot remove the default link name of the container")
	}
	return missing("removing a link")
}
