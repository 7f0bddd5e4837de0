package server

import (
	"net/http"

	"github.com/cove-containers/cove/api"
	"github.com/cove-containers/cove/server/shape"
)

func (s *Server) snapshotList(c *call) error {
	found, err := s.Snapshots.List(c.Context(), c.name("id"))
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, shape.List(found))
}

func (s *Server) snapshotCreate(c *call) error {
	var request api.SnapshotCreateRequest
	if err := c.readJSON(&request); err != nil {
		return err
	}
	made, err := s.Snapshots.Create(c.Context(), c.name("id"), request)
	if err != nil {
		return err
	}
	return c.json(http.StatusCreated, made)
}

func (s *Server) snapshotRemove(c *call) error {
	if err := s.Snapshots.Remove(c.Context(), c.name("id"), c.name("snapshot")); err != nil {
		return err
	}
	c.status(http.StatusNoContent)
	return nil
}

func (s *Server) snapshotRollback(c *call) error {
	if err := s.Snapshots.Rollback(c.Context(), c.name("id"), c.name("snapshot")); err != nil {
		return err
	}
	c.status(http.StatusNoContent)
	return nil
}

// snapshotChanges answers as docker diff does, nothing being null.
func (s *Server) snapshotChanges(c *call) error {
	found, err := s.Snapshots.Changes(c.Context(), c.name("id"), c.name("snapshot"), c.query.get("until"))
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, found)
}

func (s *Server) containerClone(c *call) error {
	var request api.CloneRequest
	if err := c.readJSON(&request); err != nil {
		return err
	}
	made, err := s.Snapshots.Clone(c.Context(), c.name("id"), request)
	if err != nil {
		return err
	}
	made.Warnings = shape.List(made.Warnings)
	return c.json(http.StatusCreated, made)
}
