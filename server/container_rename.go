package server

import "net/http"

func (s *Server) containerRename(c *call) error {
	if err := s.Course.ContainerRename(c.Context(), c.name("id"), c.query.get("name")); err != nil {
		return err
	}
	c.status(http.StatusNoContent)
	return nil
}
