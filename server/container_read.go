package server

import "net/http"

func (s *Server) containerTop(c *call) error {
	args := c.query.get("ps_args")
	if args == "" {
		args = "-ef"
	}
	found, err := s.Containers.ContainerTop(c.Context(), c.name("id"), args)
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, found)
}

func (s *Server) containerChanges(c *call) error {
	found, err := s.Containers.ContainerChanges(c.Context(), c.name("id"))
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, found)
}

func (s *Server) containersPrune(c *call) error {
	filters, err := c.query.filters()
	if err != nil {
		return err
	}
	report, err := s.Containers.ContainersPrune(c.Context(), filters)
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, report)
}
