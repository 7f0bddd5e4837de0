package server

import (
	"net/http"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/cove-containers/cove/image"
	"github.com/cove-containers/cove/ref"
	"github.com/cove-containers/cove/server/shape"
)

func (s *Server) imageHistory(c *call) error {
	platform, err := c.platform(48)
	if err != nil {
		return err
	}
	found, err := s.Images.History(c.Context(), c.name("name"), platform)
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, shape.List(found))
}

func (s *Server) imageTag(c *call) error {
	target, err := tagTarget(c.query.get("repo"), c.query.get("tag"))
	if err != nil {
		return err
	}
	if err := s.Transfers.Tag(c.Context(), c.name("name"), target); err != nil {
		return err
	}
	c.status(http.StatusCreated)
	return nil
}

// tagTarget is the full name an image is to get.
func tagTarget(repo, tag string) (string, error) {
	name, err := ref.Parse(repo)
	if err != nil {
		return "", err
	}
	if name.Digest != "" {
		return "", bad("cannot import digest reference")
	}
	if tag != "" {
		if name, err = name.WithTag(tag); err != nil {
			return "", err
		}
	}
	if name.FamiliarRepository() == string(digest.Canonical) {
		return "", bad("refusing to create an ambiguous tag using digest algorithm as name")
	}
	return name.WithDefaultTag().String(), nil
}

func (s *Server) imageRemove(c *call) error {
	name := c.name("name")
	if strings.TrimSpace(name) == "" {
		return bad("image name cannot be blank")
	}
	o := image.RemoveOptions{Force: c.query.bool("force"), PruneChildren: !c.query.bool("noprune")}
	if c.since(50) {
		var err error
		if o.Platforms, err = c.platforms("platforms"); err != nil {
			return err
		}
	}
	removed, err := s.Images.Remove(c.Context(), name, o)
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, shape.List(removed))
}

func (s *Server) imagesPrune(c *call) error {
	filters, err := c.query.filters()
	if err != nil {
		return err
	}
	report, err := s.Images.Prune(c.Context(), filters)
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, report)
}
