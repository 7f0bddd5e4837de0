package server

import (
	"fmt"
	"net/http"
)

func (s *Server) containerKill(c *call) error {
	id := c.name("id")
	if err := s.Course.ContainerKill(c.Context(), id, c.query.get("signal")); err != nil {
		return fmt.Errorf("cannot kill container: %s: %w", id, err)
	}
	c.status(http.StatusNoContent)
	return nil
}
