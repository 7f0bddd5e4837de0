package server

import (
	"net/http"

	"github.com/cove-containers/cove/engine"
	"github.com/cove-containers/cove/server/shape"
)

func (s *Server) containerList(c *call) error {
	filters, err := c.query.filters()
	if err != nil {
		return err
	}
	limit, err := c.query.int("limit")
	if err != nil {
		return err
	}
	for _, name := range []string{"since", "before"} { // became filters with API 1.22, parameters stayed
		if value := c.query.get(name); value != "" {
			filters.Add(name, value)
		}
	}
	o := engine.ListOptions{All: c.query.bool("all"), Size: c.query.bool("size"), Filters: filters}
	if limit != nil {
		o.Limit = *limit
	}
	found, err := s.Containers.ContainerList(c.Context(), o)
	if err != nil {
		return err
	}
	answer := make([]shape.ListedContainer, len(found))
	for i, summary := range found {
		answer[i] = shape.ListContainer(c.version, summary)
	}
	return c.json(http.StatusOK, answer)
}
