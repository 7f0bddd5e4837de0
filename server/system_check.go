package server

import (
	"net/http"

	"github.com/cove-containers/cove/api"
)

// systemCheck looks the engine's data over; with repair it puts right what can be.
func (s *Server) systemCheck(c *call) error {
	report, err := s.Housekeeping.Check(c.Context(), api.CheckOptions{Deep: c.query.bool("deep"), Repair: c.query.bool("repair")})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, report)
}
