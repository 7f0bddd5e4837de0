package server

func (s *Server) containerResize(c *call) error {
	height, width, err := c.query.size()
	if err != nil {
		return err
	}
	return s.Streams.ContainerResize(c.Context(), c.name("id"), height, width)
}
