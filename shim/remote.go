package shim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/containerd/errdefs"
)

// Shim is the daemon's hold on one supervisor.
type Shim struct {
	id, dir string
	wire    *wire       // nil: the supervisor had ended when we looked
	process *os.Process // nil: it is not our child
	lost    chan struct{}
	running func() // called when the container runs; may be nil

	mu      sync.Mutex
	next    uint64
	calls   map[uint64]call
	pid     int
	started bool
	main    *remote
	execs   map[string]*remote
	closed  bool // Close was called or Delete is done: the end of the connection means nothing
}

// remote is a process as the daemon knows it.
type remote struct {
	done chan struct{}
	exit Exit // valid once done is closed
}

// call is a request without an answer yet.
type call struct {
	op    string
	reply chan answer
}

type answer struct {
	body []byte
	file *os.File
	err  error
}

// into decodes the answer's body, or gives its file where result is a **os.File.
func (a answer) into(result any) error {
	if to, ok := result.(**os.File); ok {
		*to = a.file
		return a.err
	}
	closeFile(a.file)
	if a.err != nil {
		return a.err
	}
	return decode(a.body, result)
}

func newShim(id, dir string, w *wire) *Shim {
	return &Shim{
		id: id, dir: dir, wire: w, lost: make(chan struct{}),
		calls: map[uint64]call{}, main: &remote{done: make(chan struct{})}, execs: map[string]*remote{},
	}
}

// request asks the supervisor and waits for the answer.
func (s *Shim) request(ctx context.Context, op string, body any, file *os.File, result any) error {
	if s.wire == nil {
		return errLost
	}
	reply := make(chan answer, 1)
	s.mu.Lock()
	s.next++
	id := s.next
	s.calls[id] = call{op, reply}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.calls, id)
		s.mu.Unlock()
	}()
	if err := s.wire.send(head{ID: id, Op: op}, body, file); err != nil {
		return fmt.Errorf("ask supervisor: %w", errors.Join(err, errdefs.ErrUnavailable))
	}
	select {
	case a := <-reply:
		return a.into(result)
	case <-s.lost:
		select {
		case a := <-reply:
			return a.into(result)
		default:
			return errLost
		}
	case <-ctx.Done():
		return ctx.Err()
	}
}

var errLost = errdefs.ErrUnavailable.WithMessage("the container's supervisor has ended")

// listen takes answers and news until the connection ends.
func (s *Shim) listen() {
	for {
		h, body, file, err := s.wire.receive()
		if err != nil {
			break
		}
		if h.ID == 0 {
			closeFile(file)
			s.news(h, body)
			continue
		}
		s.mu.Lock()
		c := s.calls[h.ID]
		if c.op == opDelete && h.Error == nil {
			s.closed = true
		}
		s.mu.Unlock()
		if c.reply == nil { // who asked has left
			closeFile(file)
			continue
		}
		c.reply <- answer{body, file, h.Error.err()}
	}
	_ = s.wire.Close()
	s.mu.Lock()
	closed := s.closed
	s.mu.Unlock()
	if !closed {
		s.mourn()
	}
	close(s.lost)
	if s.process != nil {
		_, _ = s.process.Wait()
	}
}

// mourn finds out what became of a container whose supervisor has ended unasked.
func (s *Shim) mourn() {
	end, ok := bury(s.dir)
	if !ok {
		end.Exit = Exit{Code: exitUnknown, At: time.Now(), Error: "the container's supervisor has ended"}
	}
	s.settleAll(end)
}

func (s *Shim) news(h head, body []byte) {
	var e ending
	if h.Op != opExit || json.Unmarshal(body, &e) != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.Proc == "" {
		s.main.settle(e.Exit)
		return
	}
	s.exec(e.Proc).settle(e.Exit)
}

// settle records the exit; only the first counts. The Shim's lock is held.
func (r *remote) settle(exit Exit) {
	select {
	case <-r.done:
	default:
		r.exit = exit
		close(r.done)
	}
}

// settleAll records the exit of everything: no process outlives its container.
func (s *Shim) settleAll(end record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range end.Execs {
		if e.Exit != nil {
			s.exec(e.ID).settle(*e.Exit)
		}
	}
	killed := Exit{Code: 128 + int(sigkill), Signal: int(sigkill), At: end.Exit.At}
	for _, r := range s.execs {
		r.settle(killed)
	}
	s.main.settle(end.Exit)
}

// exec gives the entry of an exec process. The Shim's lock is held.
func (s *Shim) exec(id string) *remote {
	r := s.execs[id]
	if r == nil {
		r = &remote{done: make(chan struct{})}
		s.execs[id] = r
	}
	return r
}

// hello learns how things stand from a supervisor that another daemon launched.
func (s *Shim) hello(ctx context.Context) error {
	var st status
	if err := s.request(ctx, opHello, nil, nil, &st); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pid, s.started = st.Pid, st.Started
	for _, e := range st.Execs {
		r := s.exec(e.ID)
		if e.Exit != nil {
			r.settle(*e.Exit)
		}
	}
	if st.Exit != nil {
		s.main.settle(*st.Exit)
	}
	return nil
}

// wait gives a process's exit.
func (s *Shim) wait(ctx context.Context, r *remote) (Exit, error) {
	select {
	case <-r.done:
		return r.exit, nil
	case <-s.lost:
	case <-ctx.Done():
	}
	select {
	case <-r.done:
		return r.exit, nil
	default:
	}
	if ctx.Err() != nil {
		return Exit{}, ctx.Err()
	}
	return Exit{}, errLost
}

// Close lets go of the supervisor, which goes on.
func (s *Shim) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	if s.wire == nil {
		return nil
	}
	return s.wire.Close()
}

// Delete kills what is left of the container, removes its cgroup, ends the supervisor and removes its folder.
func (s *Shim) Delete(ctx context.Context) error {
	if s.wire == nil {
		return os.RemoveAll(s.dir)
	}
	err := s.request(ctx, opDelete, nil, nil, nil)
	if err != nil && !errors.Is(err, errdefs.ErrUnavailable) {
		return fmt.Errorf("delete supervisor: %w", err)
	}
	if err != nil { // it is gone already; listen has killed what it left
		select {
		case <-s.lost:
		case <-ctx.Done():
			return ctx.Err()
		}
		return os.RemoveAll(s.dir)
	}
	select {
	case <-s.lost:
	case <-time.After(lastWords): // it stays until clients that read slowly have everything
		_ = s.wire.Close()
	}
	return nil
}
