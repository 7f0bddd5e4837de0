package engine

import (
	"maps"

	et "github.com/moby/moby/api/types/events"

	"github.com/cove-containers/cove/container"
	"github.com/cove-containers/cove/engine/view"
)

// Bus hands events to whoever listens and keeps the last ones.
type Bus = view.Bus

// NewBus makes a bus without listeners: it is there before the engine, for keepers that have something to tell.
func NewBus() *Bus { return view.NewBus() }

// log tells the world what happened to the object id.
func (e *Engine) log(kind et.Type, action et.Action, id string, attrs map[string]string) {
	e.bus.Publish(et.Message{Type: kind, Action: action, Actor: et.Actor{ID: id, Attributes: attrs}})
}

func (e *Engine) tell(all []et.Message) {
	for _, m := range all {
		e.bus.Publish(m)
	}
}

// event tells what happened to a container: its labels, image and name go with it, then extra in pairs.
func (e *Engine) event(c *container.Container, action et.Action, extra ...string) {
	attrs := maps.Clone(c.Config.Labels)
	if attrs == nil {
		attrs = map[string]string{}
	}
	attrs["image"], attrs["name"] = c.Config.Image, c.Name
	for i := 0; i+1 < len(extra); i += 2 {
		attrs[extra[i]] = extra[i+1]
	}
	e.log(et.ContainerEventType, action, c.ID, attrs)
}
