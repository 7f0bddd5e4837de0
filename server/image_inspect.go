package server

import (
	"net/http"

	"github.com/cove-containers/cove/server/shape"
)

func (s *Server) imageInspect(c *call) error {
	manifests := c.since(48) && c.query.bool("manifests")
	platform, err := c.platform(49)
	if err != nil {
		return err
	}
	if manifests && platform != nil {
		return bad("conflicting options: manifests and platform options cannot both be set")
	}
	found, err := s.Images.Inspect(c.Context(), c.name("name"), platform, manifests)
	if err != nil {
		return err
	}
	answer, err := shape.InspectImage(c.version, found)
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, answer)
}
