package server

import (
	"encoding/json"
	"fmt"
	"net/http"

	ct "github.com/moby/moby/api/types/container"
)

// containerWait answers with the exit code once there is one. The header leaves as soon as the wait is registered:
// clients start a container only after they have seen it. Before API 1.30 the header came with the answer.
func (s *Server) containerWait(c *call) error {
	condition := ct.WaitConditionNotRunning
	if raw := ct.WaitCondition(c.query.get("condition")); raw != "" && c.since(30) {
		switch raw {
		case ct.WaitConditionNotRunning, ct.WaitConditionNextExit, ct.WaitConditionRemoved:
			condition = raw
		default:
			return bad(fmt.Sprintf("invalid condition: %q", string(raw)))
		}
	}
	ctx, cancel := c.lasting()
	defer cancel()
	exit, err := s.Streams.ContainerWait(ctx, c.name("id"), condition)
	if err != nil {
		return err
	}
	c.w.Header().Set("Content-Type", "application/json")
	if c.since(30) {
		c.status(http.StatusOK)
		c.flush()
	}
	select {
	case answer, ok := <-exit:
		if !ok {
			return ctx.Err()
		}
		if answer.Error != nil && condition == ct.WaitConditionRemoved && !c.since(34) {
			return nil // clients of that time read an empty answer as the failure it is
		}
		return json.NewEncoder(c.w).Encode(answer)
	case <-ctx.Done():
		return ctx.Err()
	}
}
