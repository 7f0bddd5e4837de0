package plan

import (
	"slices"
	"strings"

	et "github.com/moby/moby/api/types/events"

	"github.com/cove-containers/cove/api"
)

// Filters are those of a request.
type Filters = api.Filters

// CheckEventFilters refuses names that no event can be picked by.
func CheckEventFilters(f Filters) error {
	return f.Check("config", "container", "daemon", "event", "image", "label", "network", "node", "plugin", "scope",
		"secret", "service", "type", "volume")
}

// EventMatches tells whether the filters let an event through. As with Docker, an object's filter looks at any
// event's object: by the beginning of its ID or name.
func EventMatches(f Filters, m et.Message) bool {
	if !f.Exact("type", string(m.Type)) || !f.Exact("scope", m.Scope) || !actionMatches(f, string(m.Action)) {
		return false
	}
	for _, kind := range []string{"container", "daemon", "plugin", "volume", "network", "node", "service", "secret", "config"} {
		if f.Has(kind) && !begins(f, kind, m.Actor.ID) && !begins(f, kind, m.Actor.Attributes["name"]) {
			return false
		}
	}
	return imageMatches(f, m) && f.Labels("label", m.Actor.Attributes)
}

// actionMatches compares actions; "exec_create" stands for "exec_create: ls" too.
func actionMatches(f Filters, action string) bool {
	bare, _, _ := strings.Cut(action, ":")
	return f.Exact("event", action) || f.Exact("event", bare)
}

func begins(f Filters, name, value string) bool {
	return slices.ContainsFunc(f.Get(name), func(v string) bool { return strings.HasPrefix(value, v) })
}

// imageMatches compares the image of an event, with and without its tag.
func imageMatches(f Filters, m et.Message) bool {
	name := m.Actor.Attributes["image"]
	if m.Type == et.ImageEventType {
		name = m.Actor.Attributes["name"]
	}
	return f.Exact("image", m.Actor.ID) || f.Exact("image", name) || f.Exact("image", withoutTag(name))
}

func withoutTag(name string) string {
	if colon := strings.LastIndexByte(name, ':'); colon > strings.LastIndexByte(name, '/') {
		return name[:colon]
	}
	return name
}
