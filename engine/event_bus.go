package engine

import (
	"maps"
	"sync"
	"time"

	et "github.com/moby/moby/api/types/events"

	"github.com/cove-containers/cove/container"
)

// keptEvents is how many past events can be asked for with --since.
const keptEvents = 1024

// Bus hands events to whoever listens and keeps the last ones.
type Bus struct {
	mu        sync.Mutex
	past      []et.Message
	listeners map[*listener]bool
	last      int64
}

// listener is somebody who gets every event from the moment it subscribed. wake has a value when queue has some.
type listener struct {
	queue []et.Message
	wake  chan struct{}
}

// NewBus makes a bus without listeners: it is there before the engine, for keepers that have something to tell.
func NewBus() *Bus { return &Bus{listeners: map[*listener]bool{}} }

// publish gives a message its time, later than every message before, and everybody the message.
func (b *Bus) publish(m et.Message) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.last = max(b.last+1, time.Now().UnixNano())
	m.Scope, m.TimeNano, m.Time = "local", b.last, b.last/int64(time.Second)
	b.past = append(b.past, m)
	if len(b.past) > 2*keptEvents {
		b.past = append([]et.Message(nil), b.past[keptEvents:]...)
	}
	for l := range b.listeners {
		l.queue = append(l.queue, m)
		select {
		case l.wake <- struct{}{}:
		default:
		}
	}
}

// subscribe returns what has happened and a listener for what will; nothing lies between.
func (b *Bus) subscribe() ([]et.Message, *listener) {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := &listener{wake: make(chan struct{}, 1)}
	b.listeners[l] = true
	return append([]et.Message(nil), b.past...), l
}

func (b *Bus) leave(l *listener) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.listeners, l)
}

// take empties the listener's queue.
func (b *Bus) take(l *listener) []et.Message {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := l.queue
	l.queue = nil
	return out
}

// Image tells what happened to an image; it is what the image keeper calls.
func (b *Bus) Image(action, id string, attrs map[string]string) {
	b.publish(et.Message{Type: et.ImageEventType, Action: et.Action(action), Actor: et.Actor{ID: id, Attributes: attrs}})
}

// log tells the world what happened to the object id.
func (e *Engine) log(kind et.Type, action et.Action, id string, attrs map[string]string) {
	e.bus.publish(et.Message{Type: kind, Action: action, Actor: et.Actor{ID: id, Attributes: attrs}})
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
