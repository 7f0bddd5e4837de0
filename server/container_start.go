package server

import "net/http"

func (s *Server) containerStart(c *call) error {
	if c.ContentLength > 7 || c.ContentLength == -1 {
		return bad("starting container with non-empty request body was deprecated since API v1.22 and removed in v1.24")
	}
	var err error
	switch name := c.query.get("checkpoint"); {
	case name == "":
		err = s.Lives.ContainerStart(c.Context(), c.name("id"))
	case !s.experimental():
		return bad("checkpoint is only supported in experimental mode")
	default:
		err = s.Checkpoints.ContainerRestore(c.Context(), c.name("id"), name, c.query.get("checkpoint-dir"))
	}
	if err != nil {
		return err
	}
	c.status(http.StatusNoContent)
	return nil
}
