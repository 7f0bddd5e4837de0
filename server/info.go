package server

import (
	"net/http"

	"github.com/cove-containers/cove/server/shape"
)

func (s *Server) info(c *call) error {
	found, err := s.System.Info(c.Context())
	if err != nil {
		return err
	}
	answer, err := shape.Info(c.version, found)
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, answer)
}

func (s *Server) versionInfo(c *call) error {
	found, err := s.System.Version(c.Context())
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, found)
}
