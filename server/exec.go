package server

import (
	"net/http"

	ct "github.com/moby/moby/api/types/container"
)

func (s *Server) execCreate(c *call) error {
	var request ct.ExecCreateRequest
	if err := c.readJSON(&request); err != nil {
		return err
	}
	if len(request.Cmd) == 0 {
		return bad("No exec command specified")
	}
	if !c.since(42) {
		request.ConsoleSize = nil
	}
	id, err := s.Execs.ExecCreate(c.Context(), c.name("id"), request)
	if err != nil {
		return err
	}
	return c.json(http.StatusCreated, ct.ExecCreateResponse{ID: id})
}

func (s *Server) execInspect(c *call) error {
	exec, err := s.Execs.ExecInspect(c.Context(), c.name("id"))
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, exec)
}

func (s *Server) execResize(c *call) error {
	height, width, err := c.query.size()
	if err != nil {
		return err
	}
	return s.Execs.ExecResize(c.Context(), c.name("id"), height, width)
}
