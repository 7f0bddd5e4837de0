package server

import (
	"net/http"

	ct "github.com/moby/moby/api/types/container"
)

func (s *Server) containerUpdate(c *call) error {
	var update ct.UpdateConfig
	if err := c.readJSON(&update); err != nil {
		return err
	}
	if !c.since(40) {
		update.PidsLimit = nil
	}
	if !c.since(55) { // they were not looked at
		update.BlkioWeightDevice = nil
		update.BlkioDeviceReadBps, update.BlkioDeviceWriteBps = nil, nil
		update.BlkioDeviceReadIOps, update.BlkioDeviceWriteIOps = nil, nil
	}
	if update.PidsLimit != nil && *update.PidsLimit <= 0 {
		update.PidsLimit = new(int64) // any of 0 and the negative numbers lifts the limit
	}
	answer, err := s.Course.ContainerUpdate(c.Context(), c.name("id"), update)
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, answer)
}
