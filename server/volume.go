package server

import (
	"net/http"

	"github.com/containerd/errdefs"
	vt "github.com/moby/moby/api/types/volume"

	"github.com/cove-containers/cove/server/shape"
)

func (s *Server) volumeList(c *call) error {
	filters, err := c.query.filters()
	if err != nil {
		return err
	}
	found, err := s.Volumes.List(filters)
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, vt.ListResponse{Volumes: shape.List(found)})
}

func (s *Server) volumeInspect(c *call) error {
	found, err := s.Volumes.Get(c.name("name"))
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, found)
}

func (s *Server) volumeCreate(c *call) error {
	var request vt.CreateRequest
	if err := c.readJSON(&request); err != nil {
		return err
	}
	if request.ClusterVolumeSpec != nil && c.since(42) {
		return errNoSwarm
	}
	made, err := s.Volumes.Create(c.Context(), request)
	if err != nil {
		return err
	}
	return c.json(http.StatusCreated, made)
}

func (s *Server) volumeUpdate(*call) error {
	return errdefs.ErrUnavailable.WithMessage("volume update only valid for cluster volumes, but swarm is unavailable")
}

func (s *Server) volumeRemove(c *call) error {
	if err := s.Volumes.Remove(c.Context(), c.name("name"), c.query.bool("force")); err != nil {
		return err
	}
	c.status(http.StatusNoContent)
	return nil
}

// volumesPrune takes, for clients before API 1.42, volumes with a name too.
func (s *Server) volumesPrune(c *call) error {
	filters, err := c.query.filters()
	if err != nil {
		return err
	}
	if !c.since(42) {
		filters.Add("all", "true")
	}
	report, err := s.Volumes.Prune(c.Context(), filters)
	if err != nil {
		return err
	}
	report.VolumesDeleted = shape.List(report.VolumesDeleted)
	return c.json(http.StatusOK, report)
}
