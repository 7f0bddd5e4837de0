package view

import (
	"context"
	"time"

	"github.com/containerd/errdefs"
	et "github.com/moby/moby/api/types/events"

	"github.com/cove-containers/cove/engine/plan"
)

// Events gives emit what happened since o.Since, as far as it is remembered, and what happens until o.Until or the
// end of ctx or of the daemon, in the order in which it happened.
func (v *View) Events(ctx context.Context, o EventsOptions, emit func(et.Message) error) error {
	if err := plan.CheckEventFilters(o.Filters); err != nil {
		return err
	}
	bus := v.parts.Bus
	past, l := bus.subscribe()
	defer bus.leave(l)
	if o.Open != nil {
		if err := o.Open(); err != nil {
			return err
		}
	}
	if !o.Since.IsZero() || !o.Until.IsZero() {
		if over, err := o.give(past, emit); over || err != nil {
			return err
		}
	}
	var end <-chan time.Time
	if !o.Until.IsZero() {
		timer := time.NewTimer(time.Until(o.Until))
		defer timer.Stop()
		end = timer.C
	}
	for ended := false; !ended; {
		select {
		case <-ctx.Done():
			return nil
		case <-v.parts.Closing:
			return nil
		case <-end:
			ended = true
		case <-l.wake:
		}
		waiting, lost := bus.take(l)
		if over, err := o.give(waiting, emit); over || err != nil {
			return err
		}
		if lost {
			return errdefs.ErrResourceExhausted.WithMessage("events were lost: the client takes them too slowly")
		}
	}
	return nil
}

// give emits those of messages that were asked for; over tells that nothing more was.
func (o EventsOptions) give(messages []et.Message, emit func(et.Message) error) (over bool, err error) {
	for _, m := range messages {
		at := time.Unix(0, m.TimeNano)
		if !o.Until.IsZero() && at.After(o.Until) {
			return true, nil
		}
		if at.Before(o.Since) || !plan.EventMatches(o.Filters, m) {
			continue
		}
		if err := emit(m); err != nil {
			return true, err
		}
	}
	return false, nil
}
