package server

import (
	"net/http"
	"strconv"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/checkpoint"
)

// experimental tells whether clients may ask for what a dockerd has in experimental mode only, which is
// checkpoints: where the daemon was told so, or there is what makes them.
func (s *Server) experimental() bool {
	return s.Experimental || s.Checkpoints != nil && s.Checkpoints.HasCriu()
}

func (s *Server) tellExperimental(header http.Header) {
	header.Set("Docker-Experimental", strconv.FormatBool(s.experimental()))
}

var errNotExperimental = errdefs.ErrNotImplemented.WithMessage("This experimental feature is disabled by default. Start the Docker daemon in experimental mode in order to enable it.")

// ifExperimental is a call for which a dockerd has to be in experimental mode.
func (s *Server) ifExperimental(do handler) handler {
	return func(c *call) error {
		if !s.experimental() {
			return errNotExperimental
		}
		return do(c)
	}
}

func (s *Server) checkpointCreate(c *call) error {
	var request checkpoint.CreateRequest
	if err := c.readJSON(&request); err != nil {
		return err
	}
	if err := s.Checkpoints.CheckpointCreate(c.Context(), c.name("id"), request); err != nil {
		return err
	}
	c.status(http.StatusCreated)
	return nil
}

func (s *Server) checkpointList(c *call) error {
	list, err := s.Checkpoints.CheckpointList(c.Context(), c.name("id"), c.query.get("dir"))
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, list)
}

func (s *Server) checkpointRemove(c *call) error {
	if err := s.Checkpoints.CheckpointRemove(c.Context(), c.name("id"), c.name("checkpoint"), c.query.get("dir")); err != nil {
		return err
	}
	c.status(http.StatusNoContent)
	return nil
}
