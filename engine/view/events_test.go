package view

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	et "github.com/moby/moby/api/types/events"
)

func publish(b *Bus, action string) {
	b.Publish(et.Message{Type: et.ContainerEventType, Action: et.Action(action), Actor: et.Actor{ID: "c"}})
}

func TestEventsPastAndPresent(t *testing.T) {
	v := New(Parts{Bus: NewBus()})
	publish(v.parts.Bus, "old")
	since := time.Now()
	publish(v.parts.Bus, "create")
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var got []string
	var last int64
	o := EventsOptions{Since: since, Open: func() error { publish(v.parts.Bus, "start"); publish(v.parts.Bus, "die"); return nil }}
	err := v.Events(ctx, o, func(m et.Message) error {
		if m.TimeNano <= last {
			t.Errorf("%s is not later than the one before", m.Action)
		}
		last = m.TimeNano
		got = append(got, string(m.Action))
		if m.Action == "die" {
			cancel()
		}
		return nil
	})
	if err != nil || strings.Join(got, " ") != "create start die" {
		t.Errorf("%v %v", got, err)
	}
	if v.parts.Bus.count() != 0 {
		t.Error("a listener is left")
	}
}

func TestEventsEnd(t *testing.T) {
	closing := make(chan struct{})
	v := New(Parts{Bus: NewBus(), Closing: closing})
	publish(v.parts.Bus, "create")
	none := func(et.Message) error { return errors.New("emitted") }
	if err := v.Events(context.Background(), EventsOptions{Until: time.Now().Add(-time.Hour)}, none); err != nil {
		t.Errorf("until the past: %v", err)
	}
	if err := v.Events(context.Background(), EventsOptions{Until: time.Now().Add(time.Hour)}, none); err == nil || err.Error() != "emitted" {
		t.Errorf("an error of emit: %v", err)
	}
	start := time.Now()
	if err := v.Events(context.Background(), EventsOptions{Until: start.Add(50 * time.Millisecond), Filters: given("event=die")}, none); err != nil || time.Since(start) < 50*time.Millisecond {
		t.Errorf("until soon: %v", err)
	}
	if err := v.Events(context.Background(), EventsOptions{Filters: given("foo=1")}, none); !errdefs.IsInvalidArgument(err) {
		t.Errorf("unknown filter: %v", err)
	}
	close(closing)
	if err := v.Events(context.Background(), EventsOptions{}, none); err != nil {
		t.Errorf("the daemon ends: %v", err)
	}
}

func TestASlowListenerIsToldAndNotFed(t *testing.T) {
	v := New(Parts{Bus: NewBus()})
	o := EventsOptions{Open: func() error {
		for i := range mostWaiting + 10 {
			publish(v.parts.Bus, fmt.Sprint(i))
		}
		return nil
	}}
	err := v.Events(context.Background(), o, func(et.Message) error { return nil })
	if !errdefs.IsResourceExhausted(err) {
		t.Errorf("%v", err)
	}
	if n := len(v.parts.Bus.Past()); n < keptEvents || n > 2*keptEvents {
		t.Errorf("%d events are remembered", n)
	}
}
