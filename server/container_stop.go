package server

import "net/http"

func (s *Server) containerStop(c *call) error {
	signal, timeout, err := c.stopping()
	if err != nil {
		return err
	}
	if err := s.Lives.ContainerStop(c.Context(), c.name("id"), signal, timeout); err != nil {
		return err
	}
	c.status(http.StatusNoContent)
	return nil
}

func (s *Server) containerRestart(c *call) error {
	signal, timeout, err := c.stopping()
	if err != nil {
		return err
	}
	if err := s.Lives.ContainerRestart(c.Context(), c.name("id"), signal, timeout); err != nil {
		return err
	}
	c.status(http.StatusNoContent)
	return nil
}

// stopping reads how a container is to be stopped; before API 1.42 the signal could not be chosen.
func (c *call) stopping() (signal string, timeout *int, err error) {
	if c.since(42) {
		signal = c.query.get("signal")
	}
	timeout, err = c.query.int("t")
	return signal, timeout, err
}
