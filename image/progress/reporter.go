package progress

import (
	"sync"

	js "github.com/moby/moby/api/types/jsonstream"
	"github.com/opencontainers/go-digest"
)

// Reporter carries messages to a client without ever making the work wait for it: what only repeats with newer numbers
// replaces what the client has not taken yet.
type Reporter struct {
	mu     sync.Mutex
	queue  []js.Message
	wake   chan struct{}
	ended  bool
	done   chan struct{}
	status map[string]string // by ID: the last that was sent
}

// NewReporter starts the goroutine that calls out; Close ends it. out may be nil.
func NewReporter(out func(js.Message)) *Reporter {
	r := &Reporter{wake: make(chan struct{}, 1), done: make(chan struct{}), status: map[string]string{}}
	go r.run(out)
	return r
}

func (r *Reporter) run(out func(js.Message)) {
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

func (r *Reporter) poke() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Close sends what is left and waits until it is taken.
func (r *Reporter) Close() {
	r.mu.Lock()
	r.ended = true
	r.mu.Unlock()
	r.poke()
	<-r.done
}

// Say sends a status. What has an ID is a line that changes: clients tell it by its progress, even an empty one.
func (r *Reporter) Say(id, status string) {
	m := js.Message{ID: id, Status: status}
	if id != "" {
		m.Progress = &js.Progress{}
	}
	r.Send(m)
}

// Begin sends the line that stands above all others; id is the tag it speaks of.
func (r *Reporter) Begin(id, status string) { r.Send(js.Message{ID: id, Status: status}) }

// Send passes a message on. What has a progress takes the place of one of the same ID that has not been taken yet.
func (r *Reporter) Send(m js.Message) {
	r.mu.Lock()
	defer r.mu.Unlock()
	amount := m.Progress != nil && *m.Progress != js.Progress{}
	if m.ID != "" {
		if !amount && r.status[m.ID] == m.Status {
			return
		}
		r.status[m.ID] = m.Status
	}
	if amount {
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

// Layer says how a layer goes on, in dockerd's words; done means that nothing is left to do.
func (r *Reporter) Layer(d digest.Digest, p State, done bool) {
	id := ShortID(d)
	if done {
		if r.before(id, "Extracting", "Download complete") {
			r.Say(id, "Download complete")
		}
		r.Say(id, "Pull complete")
		return
	}
	switch p.Stage {
	case Downloading:
		r.amount(id, "Downloading", p)
	case Verifying:
		r.Say(id, "Verifying Checksum")
	case Downloaded:
		r.Say(id, "Download complete")
	case Extracting:
		r.amount(id, "Extracting", p)
	case Pushing:
		r.amount(id, "Pushing", p)
	case Pushed:
		r.Say(id, "Pushed")
	case Existed:
		r.Say(id, "Layer already exists")
	case Mounted:
		r.Say(id, "Mounted from "+p.From)
	}
}

func (r *Reporter) amount(id, status string, p State) {
	r.Send(js.Message{ID: id, Status: status, Progress: &js.Progress{Current: p.Current, Total: p.Total}})
}

// before tells whether none of these was the last status of id.
func (r *Reporter) before(id string, statuses ...string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range statuses {
		if r.status[id] == s {
			return false
		}
	}
	return true
}

// ShortID is the form of digests and IDs that people read.
func ShortID(d digest.Digest) string {
	hex := d.Encoded()
	return hex[:min(12, len(hex))]
}
