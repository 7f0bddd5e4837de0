package server

import (
	"net/http"

	ct "github.com/moby/moby/api/types/container"

	"github.com/cove-containers/cove/ref"
	"github.com/cove-containers/cove/snapshot"
)

// containerCommit makes an image of a container. The body, which may be missing, replaces settings of the container.
func (s *Server) containerCommit(c *call) error {
	name, err := wantedName(c.query.get("repo"), c.query.get("tag"))
	if err != nil {
		return err
	}
	o := snapshot.CommitOptions{
		Name:     name,
		Snapshot: c.query.get("snapshot"),
		Author:   c.query.get("author"),
		Comment:  c.query.get("comment"),
		Changes:  c.query["changes"],
		Pause:    c.query.boolOr("pause", true) || c.query.get("pause") == "",
	}
	if c.ContentLength != 0 {
		var body *ct.Config
		if err := c.readJSON(&body); err != nil {
			return err
		}
		o.Config = body
	}
	id, err := s.Captures.Commit(c.Context(), c.query.get("container"), o)
	if err != nil {
		return err
	}
	return c.json(http.StatusCreated, ct.CommitResponse{ID: id.String()})
}

// wantedName is the full name that a new image is to get, the zero Name for none.
func wantedName(repo, tag string) (ref.Name, error) {
	if repo == "" {
		return ref.Name{}, nil
	}
	full, err := tagTarget(repo, tag)
	if err != nil {
		return ref.Name{}, err
	}
	return ref.ParseTagged(full)
}
