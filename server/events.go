package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/moby/moby/api/types"
	et "github.com/moby/moby/api/types/events"

	"github.com/cove-containers/cove/engine"
	"github.com/cove-containers/cove/server/shape"
)

func (s *Server) events(c *call) error {
	since, err := c.query.time("since")
	if err != nil {
		return err
	}
	until, err := c.query.time("until")
	if err != nil {
		return err
	}
	if !until.IsZero() && until.Before(since) {
		return bad(fmt.Sprintf("`since` time (%s) cannot be after `until` time (%s)", c.query.get("since"), c.query.get("until")))
	}
	filters, err := c.query.filters()
	if err != nil {
		return err
	}
	ctx, cancel := c.lasting()
	defer cancel()
	kind := eventsType(c.Header.Values("Accept"))
	o := engine.EventsOptions{Since: since, Until: until, Filters: filters, Open: func() error {
		c.w.Header().Set("Content-Type", kind)
		c.status(http.StatusOK)
		c.flush()
		return nil
	}}
	return s.System.Events(ctx, o, func(m et.Message) error {
		if m.Type == et.ImageEventType && m.Action == et.ActionCreate && !c.since(46) {
			return nil
		}
		raw, err := json.Marshal(shape.Event(c.version, m))
		if err != nil {
			return err
		}
		if kind == types.MediaTypeJSONSequence {
			raw = append([]byte{0x1e}, raw...)
		}
		if _, err := c.w.Write(append(raw, '\n')); err != nil {
			return err
		}
		c.flush()
		return nil
	})
}

// eventsType is how the client wants the messages set apart; one a line, whatever it is called, unless it asks for
// a sequence.
func eventsType(accept []string) string {
	for _, line := range accept {
		for item := range strings.SplitSeq(line, ",") {
			kind, _, _ := strings.Cut(strings.TrimSpace(item), ";")
			switch kind {
			case types.MediaTypeNDJSON, types.MediaTypeJSONLines, types.MediaTypeJSONSequence:
				return kind
			}
		}
	}
	return types.MediaTypeJSON
}
