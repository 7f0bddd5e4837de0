package server

import (
	"net/http"

	ct "github.com/moby/moby/api/types/container"

	"github.com/cove-containers/cove/engine"
)

// listedContainer is a container in a list as every version shows it: a port that is not published has no address.
type listedContainer struct {
	ct.Summary
	Ports []listedPort
}

type listedPort struct {
	IP          string `json:"IP,omitempty"`
	PrivatePort uint16
	PublicPort  uint16 `json:"PublicPort,omitempty"`
	Type        string
}

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
	answer := make([]listedContainer, len(found))
	for i, summary := range found {
		answer[i] = listContainer(c.version, summary)
	}
	return c.json(http.StatusOK, answer)
}

func listContainer(v version, summary ct.Summary) listedContainer {
	if v < 1046 {
		summary.HostConfig.Annotations = nil
	}
	if v < 1048 {
		summary.ImageManifestDescriptor = nil
	}
	if v < 1052 {
		summary.Health = nil
	}
	ports := make([]listedPort, len(summary.Ports))
	for i, p := range summary.Ports {
		ports[i] = listedPort{PrivatePort: p.PrivatePort, PublicPort: p.PublicPort, Type: p.Type}
		if p.IP.IsValid() {
			ports[i].IP = p.IP.String()
		}
	}
	return listedContainer{Summary: summary, Ports: ports}
}
