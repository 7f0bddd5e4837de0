package server

import (
	"net/http"

	"github.com/cove-containers/cove/image"
	"github.com/cove-containers/cove/server/shape"
)

func (s *Server) imageList(c *call) error {
	filters, err := c.query.filters()
	if err != nil {
		return err
	}
	if name := c.query.get("filter"); name != "" && !c.since(41) {
		filters.Add("reference", name)
	}
	if c.since(54) && c.query.bool("identity") && !c.query.bool("manifests") {
		return bad("conflicting options: identity requires manifests=1")
	}
	found, err := s.Images.List(c.Context(), image.ListOptions{
		All:        c.query.bool("all"),
		Filters:    filters,
		SharedSize: c.since(42) && c.query.bool("shared-size"),
		Manifests:  c.since(47) && c.query.bool("manifests"),
	})
	if err != nil {
		return err
	}
	answer := make([]shape.ListedImage, len(found))
	for i, summary := range found {
		if !c.since(51) {
			summary.Containers = -1 // was only counted for disk usage
		}
		answer[i] = shape.ListImage(c.version, summary)
	}
	return c.json(http.StatusOK, answer)
}
