package plan

import (
	"strings"
	"testing"

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
