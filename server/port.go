package server

import (
	"net/http"

	"github.com/cove-containers/cove/api"
)

func (s *Server) portAdd(c *call) error {
	var change api.PortChange
	if err := c.readJSON(&change); err != nil {
		return err
	}
	if err := s.Endpoints.AddPorts(c.Context(), c.name("id"), change); err != nil {
		return err
	}
	c.status(http.StatusNoContent)
	return nil
}

func (s *Server) portRemove(c *call) error {
	var change api.PortChange
	if err := c.readJSON(&change); err != nil {
		return err
	}
	if err := s.Endpoints.RemovePorts(c.Context(), c.name("id"), change); err != nil {
		return err
	}
	c.status(http.StatusNoContent)
	return nil
}
