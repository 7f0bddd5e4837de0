package shim

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"github.com/cove-containers/cove/runtime"
	"github.com/cove-containers/cove/sys"
)

// daemonFD is where a supervisor finds its connection to the daemon that started it.
const daemonFD = 3

// Main is the life of a supervisor process: cmd/cove-runtime calls it for the verb shim. It returns the exit status when
// the container's run is over, or when the daemon went away before this spare was needed.
func Main(_ []string) int {
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte("-998"), 0) // best effort: without the right for it we are as killable as any
	sys.SetProcessTitle("cove-shim", "spare")
	socket, err := sys.NewSocket(daemonFD)
	if err != nil {
		fmt.Fprintln(os.Stderr, "cove-runtime shim is started by the daemon only:", err)
		return 1
	}
	served := make(chan error)
	named := func(id string) { sys.SetProcessTitle("cove-shim", id) }
	go func() { served <- serve(&wire{Socket: socket}, makeContainer, named) }() // not on the first thread, which main keeps for itself
	if err := <-served; err != nil {
		fmt.Fprintln(os.Stderr, time.Now().Format(time.RFC3339), err)
		return 1
	}
	return 0
}

// serve waits to be adopted, which named is told of, and then supervises a container to its end.
func serve(first *wire, make maker, named func(id string)) error {
	warm()
	h, body, file, err := first.receive()
	closeFile(file)
	if err != nil {
		return nil // not needed any more
	}
	var a adoption
	if err := json.Unmarshal(body, &a); err != nil || h.Op != opAdopt {
		return fmt.Errorf("adoption: %w", errFrame)
	}
	named(a.ID)
	listener, err := sys.ListenSocket(a.Dir, socketName)
	if err != nil {
		return first.send(head{ID: h.ID, Error: toWire(err)}, nil, nil)
	}
	defer listener.Close()
	s := newSupervisor(a.ID, a.Dir, make, newTidy().soon)
	s.daemons = append(s.daemons, first)
	if err := first.send(head{ID: h.ID}, nil, nil); err != nil {
		s.forget(first)
	}
	go s.converse(first)
	go s.accept(listener)
	<-s.over
	s.lastClients()
	return nil
}

// lastClients lets attached clients read to the end. Daemons need not wait for slow ones.
func (s *supervisor) lastClients() {
	s.mu.Lock()
	daemons := s.daemons
	s.mu.Unlock()
	hangUp := time.AfterFunc(clientPatience, func() {
		for _, w := range daemons {
			_ = w.Close()
		}
	})
	s.writers.Wait()
	if hangUp.Stop() {
		for _, w := range daemons {
			_ = w.Close()
		}
	}
}

// clientPatience is how long a daemon that deletes a container waits for clients to take their last output.
const clientPatience = 50 * time.Millisecond

func (s *supervisor) accept(l *sys.SocketListener) {
	for {
		socket, err := l.Accept()
		if err != nil {
			return
		}
		go s.converse(&wire{Socket: socket})
	}
}

// converse answers one connection until it ends or becomes an attachment.
func (s *supervisor) converse(w *wire) {
	for {
		h, body, file, err := w.receive()
		if err != nil {
			break
		}
		if h.Op == opAttach {
			closeFile(file)
			s.attach(w, h, body)
			return
		}
		if h.Op == opHello {
			// Before the end of the connection is seen: a daemon that is entered after it was forgotten would never leave.
			s.answer(w, h, body, file)
			continue
		}
		go s.answer(w, h, body, file)
	}
	_ = w.Close()
	s.forget(w)
}

// forget drops a connection; the last one may leave nothing to do.
func (s *supervisor) forget(w *wire) {
	s.mu.Lock()
	s.daemons = slices.DeleteFunc(slices.Clone(s.daemons), func(o *wire) bool { return o == w })
	s.mu.Unlock()
	s.checkAlone()
}

// answer carries one request out.
func (s *supervisor) answer(w *wire, h head, body []byte, file *os.File) {
	result, err := s.perform(w, h.Op, body, file)
	kept, _ := result.(*os.File)
	if kept != nil {
		result = nil
		defer kept.Close()
	}
	if err := w.send(head{ID: h.ID, Error: toWire(err)}, result, kept); err != nil {
		_ = w.Close()
	}
	if h.Op == opDelete && err == nil {
		s.leave()
	}
	s.touched()
}

// perform is the table of operations.
func (s *supervisor) perform(w *wire, op string, body []byte, file *os.File) (any, error) {
	if op != opCreate && op != opKeep {
		closeFile(file)
	}
	switch op {
	case opHello:
		s.mu.Lock()
		defer s.mu.Unlock()
		if !slices.Contains(s.daemons, w) {
			s.daemons = append(slices.Clone(s.daemons), w)
		}
		return s.status(), nil
	case opCreate:
		return with(body, func(cfg Config) (any, error) { return s.create(cfg, file) })
	case opStart:
		return nil, s.start()
	case opKill:
		return with(body, func(k killing) (any, error) { return nil, s.kill(k) })
	case opResize:
		return with(body, func(r resizing) (any, error) { return nil, s.resize(r) })
	case opExec:
		return with(body, func(e execution) (any, error) {
			if e.Config == nil {
				return nil, errFrame
			}
			return nil, s.addExec(e.ID, *e.Config)
		})
	case opExecStart:
		return with(body, func(e execution) (any, error) { return s.startExec(e.ID) })
	case opExecDelete:
		return with(body, func(e execution) (any, error) { return nil, s.deleteExec(e.ID) })
	case opKeep:
		return with(body, func(name string) (any, error) { return nil, s.keep(name, file) })
	case opKept:
		return with(body, func(name string) (any, error) { return s.lend(name) })
	case opCheckpoint:
		return with(body, func(o runtime.CheckpointOptions) (any, error) { return nil, s.checkpoint(o) })
	case opDelete:
		return nil, s.remove()
	}
	return nil, errdefs.ErrNotImplemented.WithMessage("supervisor does not know how to " + op)
}

// with decodes what an operation takes.
func with[T any](body []byte, do func(T) (any, error)) (any, error) {
	var v T
	if err := json.Unmarshal(body, &v); err != nil {
		return nil, fmt.Errorf("decode request: %w", err)
	}
	return do(v)
}

// attach turns a connection into a client's.
func (s *supervisor) attach(w *wire, h head, body []byte) {
	var a attaching
	err := json.Unmarshal(body, &a)
	var p *proc
	if err == nil {
		p, err = s.find(a.Proc)
	}
	if err != nil {
		_ = w.send(head{ID: h.ID, Error: toWire(err)}, nil, nil)
		_ = w.Close()
		return
	}
	p.streams.attach(w.Socket, a.AttachOptions, func() error { return w.send(head{ID: h.ID}, nil, nil) })
	s.touched()
}

// tidy gives memory back to the kernel when nothing has happened for a while.
type tidy struct {
	mu    sync.Mutex
	timer *time.Timer
}

const tidyAfter = time.Second

func newTidy() *tidy { return &tidy{} }

// soon asks for it.
func (t *tidy) soon() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.timer == nil {
		t.timer = time.AfterFunc(tidyAfter, debug.FreeOSMemory)
		return
	}
	t.timer.Reset(tidyAfter)
}

// warm does once, while nobody waits, what the first request of each kind would otherwise pay for: the JSON package
// learns our types.
func warm() {
	text, err := json.Marshal(Config{})
	if err == nil {
		_ = json.Unmarshal(text, &Config{})
	}
	_, _ = json.Marshal(status{})
}
