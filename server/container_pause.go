package server

import "net/http"

func (s *Server) containerPause(c *call) error {
	if err := s.Course.ContainerPause(c.Context(), c.name("id")); err != nil {
		return err
	}
	c.status(http.StatusNoContent)
	return nil
}

func (s *Server) containerUnpause(c *call) error {
	if err := s.Course.ContainerUnpause(c.Context(), c.name("id")); err != nil {
		return err
	}
	c.status(http.StatusNoContent)
	return nil
}
