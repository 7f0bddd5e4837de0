package server

import (
	"net/http"

	"github.com/cove-containers/cove/server/shape"
)

func (s *Server) containerInspect(c *call) error {
	found, err := s.Containers.ContainerInspect(c.Context(), c.name("id"), c.query.bool("size"))
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, shape.InspectContainer(c.version, found))
}
