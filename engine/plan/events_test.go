package plan

import (
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	et "github.com/moby/moby/api/types/events"
)

func given(pairs ...string) Filters {
	f := Filters{}
	for _, p := range pairs {
		name, value, _ := strings.Cut(p, "=")
		f.Add(name, value)
	}
	return f
}

func TestEventMatches(t *testing.T) {
	die := et.Message{Type: et.ContainerEventType, Action: et.ActionDie, Scope: "local", Actor: et.Actor{
		ID: "abcdef", Attributes: map[string]string{"name": "web", "image": "host:5000/nginx:1", "l": "1"},
	}}
	exec := die
	exec.Action = "exec_create: ls"
	pull := et.Message{Type: et.ImageEventType, Action: et.ActionPull, Scope: "local", Actor: et.Actor{ID: "alpine:3.20", Attributes: map[string]string{"name": "alpine"}}}
	for _, tc := range []struct {
		m       et.Message
		filters string
		want    bool
	}{
		{die, "", true},
		{die, "event=die", true},
		{die, "event=start", false},
		{die, "event=start event=die", true},
		{exec, "event=exec_create", true},
		{exec, "event=exec", false},
		{die, "type=container scope=local", true},
		{die, "type=image", false},
		{die, "container=abc", true},
		{die, "container=web", true},
		{die, "container=we", true},
		{die, "container=eb", false},
		{pull, "container=web", false},
		{die, "image=host:5000/nginx:1", true},
		{die, "image=host:5000/nginx", true},
		{die, "image=nginx", false},
		{pull, "image=alpine", true},
		{pull, "image=alpine:3.20", true},
		{die, "label=l", true},
		{die, "label=l=1 label=m", false},
		{die, "volume=v", false},
	} {
		if got := EventMatches(given(strings.Fields(tc.filters)...), tc.m); got != tc.want {
			t.Errorf("%s of %s with %q: %v", tc.m.Action, tc.m.Actor.ID, tc.filters, got)
		}
	}
	if err := CheckEventFilters(given("foo=1")); !errdefs.IsInvalidArgument(err) {
		t.Error(err)
	}
}

func TestUntil(t *testing.T) {
	now := time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"1h":                        now.Add(-time.Hour),
		"1h30m":                     now.Add(-90 * time.Minute),
		"1700000000":                time.Unix(1700000000, 0),
		"1700000000.5":              time.Unix(1700000000, 500000000),
		"2026-01-02":                time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC),
		"2026-01-02T03:04":          time.Date(2026, 1, 2, 3, 4, 0, 0, time.UTC),
		"2026-01-02T03:04:05Z":      time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		"2026-01-02T03:04:05+02:00": time.Date(2026, 1, 2, 1, 4, 5, 0, time.UTC),
	} {
		if got, err := Until(given("until="+text), now); err != nil || !got.Equal(want) {
			t.Errorf("%s: %v, %v; want %v", text, got, err, want)
		}
	}
	if got, err := Until(nil, now); err != nil || !got.IsZero() {
		t.Errorf("none: %v %v", got, err)
	}
	for _, bad := range [][]string{{"until=soon"}, {"until="}, {"until=1h", "until=2h"}} {
		if _, err := Until(given(bad...), now); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%v: %v", bad, err)
		}
	}
}

func FuzzMoment(f *testing.F) {
	f.Add("1h")
	f.Add("1700000000.123")
	f.Add("2026-01-02T03:04:05Z")
	f.Fuzz(func(t *testing.T, text string) {
		if at, ok := moment(text, time.Unix(0, 0)); !ok && !at.IsZero() {
			t.Errorf("%q: %v", text, at)
		}
	})
}
