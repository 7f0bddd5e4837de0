package image

import (
	"sync"

	js "github.com/moby/moby/api/types/jsonstream"
	"github.com/opencontainers/go-digest"
)

// reporter carries messages to a client without ever making the work wait for it: what only repeats with newer numbers
// replaces what the client has not taken yet.
type reporter struct {
	mu     sync.Mutex
	queue  []js.Message
	wake   chan struct{}
	ended  bool
	done   chan struct{}
	status map[string]string // by ID: the last that was sent
}

// newReporter starts the goroutine that calls out; close ends it. out may be nil.
func newReporter(out func(js.Message)) *reporter {
	r := &reporter{wake: make(chan struct{}, 1), done: make(chan struct{}), status: map[string]string{}}
	go r.run(out)
	return r
}

func (r *reporter) run(out func(js.Message)) {
	defer close(r.done)
	for range r.wake {
		r.mu.Lock()
		batch, ended := r.queue, r.ended
		r.queue = nil
		r.mu.Unlock()
		for _, m := range batch {
			if out != nil {
				out(m)
			}
		}
		if ended {
			return
		}
	}
}

func (r *reporter) poke() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// close sends what is left and waits until it is taken.
func (r *reporter) close() {
	r.mu.Lock()
	r.ended = true
	r.mu.Unlock()
	r.poke()
	<-r.done
}

// say sends a status; id may be empty.
func (r *reporter) say(id, status string) { r.send(js.Message{ID: id, Status: status}) }

func (r *reporter) send(m js.Message) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if m.ID != "" {
		if m.Progress == nil && r.status[m.ID] == m.Status {
			return
		}
		r.status[m.ID] = m.Status
	}
	if m.Progress != nil {
		for i := len(r.queue) - 1; i >= 0; i-- {
			if r.queue[i].ID != m.ID {
				continue
			}
			if r.queue[i].Status == m.Status {
				r.queue[i] = m
				return
			}
			break
		}
	}
	r.queue = append(r.queue, m)
	r.poke()
}

// layer says how a layer goes on, in dockerd's words.
func (r *reporter) layer(t layerTask, p progress, done bool) {
	id := shortID(t.desc.Digest)
	if done {
		if r.before(id, "Extracting", "Download complete") {
			r.say(id, "Download complete")
		}
		r.say(id, "Pull complete")
		return
	}
	switch p.stage {
	case stageDownloading:
		r.send(js.Message{ID: id, Status: "Downloading", Progress: &js.Progress{Current: p.current, Total: p.total}})
	case stageVerifying:
		r.say(id, "Verifying Checksum")
	case stageDownloaded:
		r.say(id, "Download complete")
	case stageExtracting:
		r.send(js.Message{ID: id, Status: "Extracting", Progress: &js.Progress{Current: p.current, Total: p.total}})
	}
}

// before tells whether none of these was the last status of id.
func (r *reporter) before(id string, statuses ...string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range statuses {
		if r.status[id] == s {
			return false
		}
	}
	return true
}

// shortID is the form of digests and IDs that people read.
func shortID(d digest.Digest) string {
	hex := d.Encoded()
	return hex[:min(12, len(hex))]
}
