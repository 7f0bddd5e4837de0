package server

import (
	"fmt"
	"net/http"
	"strconv"

	nt "github.com/moby/moby/api/types/network"

	"github.com/cove-containers/cove/server/shape"
)

// networkList shows the containers of each network only to clients before API 1.28.
func (s *Server) networkList(c *call) error {
	filters, err := c.query.filters()
	if err != nil {
		return err
	}
	found, err := s.Networks.List(filters)
	if err != nil {
		return err
	}
	if !c.since(28) {
		for i := range found {
			found[i].Status = nil
		}
		return c.json(http.StatusOK, shape.List(found))
	}
	// A list shows no containers, but had the field until API 1.52.
	type listed struct {
		nt.Network
		Containers *struct{} `json:"Containers,omitempty"`
	}
	answer := make([]listed, len(found))
	for i, n := range found {
		answer[i].Network = n.Network
		if !c.since(52) {
			answer[i].Containers = &struct{}{}
		}
	}
	return c.json(http.StatusOK, answer)
}

func (s *Server) networkInspect(c *call) error {
	if raw := c.query.get("verbose"); raw != "" {
		if _, err := strconv.ParseBool(raw); err != nil {
			return bad(fmt.Sprintf("invalid value for verbose: %s: %v", raw, err))
		}
	}
	id := c.name("id")
	if id == "" {
		return s.networkList(c)
	}
	found, err := s.Networks.Inspect(id)
	if err != nil {
		return err
	}
	if !c.since(52) {
		found.Status = nil
	}
	return c.json(http.StatusOK, found)
}

func (s *Server) networkCreate(c *call) error {
	var request nt.CreateRequest
	if err := c.readJSON(&request); err != nil {
		return err
	}
	if !c.since(48) {
		request.EnableIPv4 = nil
	}
	made, err := s.Networks.Create(c.Context(), request)
	if err != nil {
		return err
	}
	return c.json(http.StatusCreated, made)
}

func (s *Server) networkRemove(c *call) error {
	if err := s.Networks.Remove(c.Context(), c.name("id")); err != nil {
		return err
	}
	c.status(http.StatusNoContent)
	return nil
}

func (s *Server) networksPrune(c *call) error {
	filters, err := c.query.filters()
	if err != nil {
		return err
	}
	report, err := s.Networks.Prune(c.Context(), filters)
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, report)
}

func (s *Server) networkConnect(c *call) error {
	var request nt.ConnectRequest
	if err := c.readJSON(&request); err != nil {
		return err
	}
	if request.Container == "" {
		return bad("no container is named")
	}
	return s.Endpoints.Connect(c.Context(), c.name("id"), request.Container, request.EndpointConfig)
}

func (s *Server) networkDisconnect(c *call) error {
	var request nt.DisconnectRequest
	if err := c.readJSON(&request); err != nil {
		return err
	}
	if request.Container == "" {
		return bad("no container is named")
	}
	return s.Endpoints.Disconnect(c.Context(), c.name("id"), request.Container, request.Force)
}
