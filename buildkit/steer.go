package buildkit

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	gwclient "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/solver/pb"
)

// arrival is how long a call for a build waits for the build to begin: a client sends both at once, and over two
// connections either may be first.
const arrival = 30 * time.Second

// steered are the builds whose front end runs in the client, by build ID.
type steered struct {
	mu      sync.Mutex
	builds  map[string]*steering
	over    map[string]time.Time // when those ended that ended lately
	changed chan struct{}        // closed and replaced when one of these changes
}

func newSteered() *steered {
	return &steered{builds: map[string]*steering{}, over: map[string]time.Time{}, changed: make(chan struct{})}
}

// end notes that a build is over, so that nobody waits for it, even if it was refused before it began.
func (s *steered) end(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for known, since := range s.over {
		if time.Since(since) > 2*arrival {
			delete(s.over, known)
		}
	}
	s.over[id] = time.Now()
	s.tell()
}

// tell wakes those who wait. The caller holds the lock.
func (s *steered) tell() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// front is the front end of a build that its client steers: it stands by until the client returns a result.
func (s *steered) front(id string, inputs map[string]*pb.Definition) gwclient.BuildFunc {
	return func(ctx context.Context, c gwclient.Client) (*gwclient.Result, error) {
		b := &steering{
			client: c, inputs: inputs, returned: make(chan struct{}), ended: make(chan struct{}),
			refs: map[string]gwclient.Reference{}, containers: map[string]*room{},
		}
		if err := s.begin(id, b); err != nil {
			return nil, err
		}
		defer b.end()
		defer s.forget(id)
		select {
		case <-b.returned:
			return b.result, b.err
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

func (s *steered) begin(id string, b *steering) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.builds[id] != nil {
		return errdefs.ErrAlreadyExists.WithMessage("build " + id + " is running already")
	}
	s.builds[id] = b
	delete(s.over, id)
	s.tell()
	return nil
}

func (s *steered) forget(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.builds, id)
}

// find waits for a build to begin. A call may come first; one that comes last need not wait.
func (s *steered) find(ctx context.Context, id string) (*steering, error) {
	ctx, cancel := context.WithTimeout(ctx, arrival)
	defer cancel()
	for {
		s.mu.Lock()
		b, changed := s.builds[id], s.changed
		_, over := s.over[id]
		s.mu.Unlock()
		if b != nil {
			return b, nil
		}
		if over {
			return nil, errdefs.ErrNotFound.WithMessage("no running build " + id)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, errdefs.ErrNotFound.WithMessage("no running build " + id)
		}
	}
}

// steering is one build that its client steers: what it was given so far, under the names the client knows it by.
type steering struct {
	client   gwclient.Client
	inputs   map[string]*pb.Definition
	returned chan struct{} // closed when result and err stand
	ended    chan struct{} // closed when the build no longer listens

	mu         sync.Mutex
	refs       map[string]gwclient.Reference
	containers map[string]*room
	result     *gwclient.Result
	err        error
}

// finish takes what the client's front end came to, once.
func (b *steering) finish(result *gwclient.Result, err error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.result != nil || b.err != nil {
		return errdefs.ErrFailedPrecondition.WithMessage("the result of this build is set already")
	}
	b.result, b.err = result, err
	close(b.returned)
	return nil
}

// end lets go of what the client left open.
func (b *steering) end() {
	close(b.ended)
	b.mu.Lock()
	open := b.containers
	b.containers = nil
	b.mu.Unlock()
	for _, r := range open {
		_ = r.release()
	}
}

// ref finds a result by the name the client got for it; no name is nothing, an empty file system.
func (b *steering) ref(id string) (gwclient.Reference, error) {
	if id == "" {
		return nil, nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	r, ok := b.refs[id]
	if !ok {
		return nil, errdefs.ErrNotFound.WithMessage("no such ref: " + id)
	}
	return r, nil
}

// solid is ref for calls that need something to look into.
func (b *steering) solid(id string) (gwclient.Reference, error) {
	r, err := b.ref(id)
	if err == nil && r == nil {
		err = errors.New("empty ref")
	}
	return r, err
}
