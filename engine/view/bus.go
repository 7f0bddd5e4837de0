package view

import (
	"sync"
	"time"

	et "github.com/moby/moby/api/types/events"
)

const (
	// keptEvents is how many past events can be asked for with --since, at least.
	keptEvents = 1024
	// mostWaiting is how many events may wait for a listener that does not take them.
	mostWaiting = 1 << 14
)

// Bus hands events to whoever listens and keeps the last ones. It is safe for concurrent use.
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
	// lost tells that the listener was too slow and has missed events.
	lost bool
}

// NewBus makes a bus without listeners: it is there before the engine, for keepers that have something to tell.
func NewBus() *Bus { return &Bus{listeners: map[*listener]bool{}} }

// Publish gives a message its time, later than every message before, and everybody the message.
func (b *Bus) Publish(m et.Message) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.last = max(b.last+1, time.Now().UnixNano())
	m.Scope, m.TimeNano, m.Time = "local", b.last, b.last/int64(time.Second)
	b.past = append(b.past, m)
	if len(b.past) > 2*keptEvents {
		b.past = append([]et.Message(nil), b.past[keptEvents:]...)
	}
	for l := range b.listeners {
		if len(l.queue) >= mostWaiting {
			l.queue, l.lost = nil, true
		}
		if !l.lost {
			l.queue = append(l.queue, m)
		}
		select {
		case l.wake <- struct{}{}:
		default:
		}
	}
}

// Past returns the events that are remembered, the oldest first.
func (b *Bus) Past() []et.Message {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]et.Message(nil), b.past...)
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

// take empties the listener's queue; lost tells that it has missed some.
func (b *Bus) take(l *listener) (waiting []et.Message, lost bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	waiting, l.queue = l.queue, nil
	return waiting, l.lost
}

// count tells how many listen to events.
func (b *Bus) count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.listeners)
}

// Image tells what happened to an image; it is what the image keeper calls.
func (b *Bus) Image(action, id string, attributes map[string]string) {
	b.Publish(et.Message{Type: et.ImageEventType, Action: et.Action(action), Actor: et.Actor{ID: id, Attributes: attributes}})
}

// Network tells what happened to a network; it is what the network keeper calls.
func (b *Bus) Network(action, id string, attributes map[string]string) {
	b.Publish(et.Message{Type: et.NetworkEventType, Action: et.Action(action), Actor: et.Actor{ID: id, Attributes: attributes}})
}

// Volume tells what happened to a volume; it is what the volume keeper calls.
func (b *Bus) Volume(action, name string, attributes map[string]string) {
	b.Publish(et.Message{Type: et.VolumeEventType, Action: et.Action(action), Actor: et.Actor{ID: name, Attributes: attributes}})
}
