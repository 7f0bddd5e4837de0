package server

import (
	"encoding/json"
	"net/http"

	ct "github.com/moby/moby/api/types/container"
)

func (s *Server) containerStats(c *call) error {
	stream := c.query.boolOr("stream", true)
	oneShot := c.since(41) && c.query.bool("one-shot")
	ctx, cancel := c.lasting()
	defer cancel()
	emit := func(sample ct.StatsResponse) error {
		if !stream {
			return c.json(http.StatusOK, sample)
		}
		raw, err := json.Marshal(sample)
		if err != nil {
			return err
		}
		if !c.begun {
			c.w.Header().Set("Content-Type", "application/json")
			c.status(http.StatusOK)
		}
		if _, err := c.w.Write(append(raw, '\n')); err != nil {
			return err
		}
		c.flush()
		return nil
	}
	return s.Streams.ContainerStats(ctx, c.name("id"), stream, oneShot, emit)
}
