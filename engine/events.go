package engine

import (
	"context"
	"time"

	et "github.com/moby/moby/api/types/events"

	"github.com/cove-containers/cove/engine/plan"
)

// Events gives emit what happened since o.Since, as far as it is remembered, and what happens until o.Until or the
// end of ctx, in the order in which it happened.
func (e *Engine) Events(ctx context.Context, o EventsOptions, emit func(et.Message) error) error {
	if err := plan.CheckEventFilters(o.Filters); err != nil {
		return err
	}
	past, l := e.bus.subscribe()
	defer e.bus.leave(l)
	if o.Open != nil {
		if err := o.Open(); err != nil {
			return err
		}
	}
	give := func(messages []et.Message) (over bool, err error) {
		for _, m := range messages {
			if !o.Until.IsZero() && m.TimeNano > o.Until.UnixNano() {
				return true, nil
			}
			if m.TimeNano < o.Since.UnixNano() && !o.Since.IsZero() || !plan.EventMatches(o.Filters, m) {
				continue
			}
			if err := emit(m); err != nil {
				return true, err
			}
		}
		return false, nil
	}
	if !o.Since.IsZero() || !o.Until.IsZero() {
		if over, err := give(past); over || err != nil {
			return err
		}
	}
	var end <-chan time.Time
	if !o.Until.IsZero() {
		timer := time.NewTimer(time.Until(o.Until))
		defer timer.Stop()
		end = timer.C
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-e.closing:
			return nil
		case <-end:
			_, err := give(e.bus.take(l))
			return err
		case <-l.wake:
			if over, err := give(e.bus.take(l)); over || err != nil {
				return err
			}
		}
	}
}

// count tells how many listen to events.
func (b *Bus) count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.listeners)
}

// Volume tells what happened to a volume; it is what the volume keeper calls.
func (b *Bus) Volume(action, name string, attributes map[string]string) {
	b.publish(et.Message{Type: et.VolumeEventType, Action: et.Action(action), Actor: et.Actor{ID: name, Attributes: attributes}})
}
