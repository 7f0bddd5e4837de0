package shim

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/containerd/errdefs"

	"github.com/cove-containers/cove/runtime"
	"github.com/cove-containers/cove/sys"
)

// The protocol. A frame is
//
//	4 bytes  length of the head, big endian
//	4 bytes  length of the body
//	head     JSON, see head
//	body     JSON, what the operation takes or gives; may be empty
//
// A request has a number, its answer the same number. Frames with number 0 are news of the supervisor: opExit. After
// opAttach is answered the connection changes: the supervisor sends output (docker's frames, or plain bytes with a
// terminal) and ends it; the client sends input as
//
//	4 bytes  length, big endian; 0: end of input
//	bytes

// Operations.
const (
	opAdopt      = "adopt"  // adoption → nothing: the spare becomes a container's supervisor
	opHello      = "hello"  // nothing → status: this connection now gets news
	opCreate     = "create" // Config, and the network namespace as a passed file → status
	opStart      = "start"
	opKill       = "kill"   // killing
	opResize     = "resize" // resizing
	opExec       = "exec"   // execution
	opExecStart  = "exec-start"
	opExecDelete = "exec-delete"
	opAttach     = "attach"     // attaching
	opKeep       = "keep"       // name, and a file as a passed one, to be kept open
	opKept       = "kept"       // name → the file
	opCheckpoint = "checkpoint" // runtime.CheckpointOptions
	opDelete     = "delete"
	opExit       = "exit" // news: ending
	opStep       = "step" // to the supervisor of steps: a new step, with its connection as a passed file; not answered
)

// head begins every frame.
type head struct {
	ID    uint64     `json:"i,omitempty"`
	Op    string     `json:"o,omitempty"`
	File  bool       `json:"f,omitempty"` // a file was passed with this frame
	Error *wireError `json:"e,omitempty"`
}

type adoption struct{ ID, Dir string }

type status struct {
	Supervisor int // its pid
	Pid        int // the container's
	Started    bool
	Exit       *Exit `json:",omitempty"`
	Execs      []ExecState
	Stubs      []runtime.Stub `json:",omitempty"` // of a step
}

type killing struct {
	Proc   string
	Signal int
	All    bool
	Tree   bool // by SIGKILL, the process and what it has started
}

type resizing struct {
	Proc          string
	Width, Height uint16
}

type execution struct {
	ID     string
	Config *ExecConfig `json:",omitempty"`
}

type attaching struct {
	Proc string
	AttachOptions
}

type ending struct {
	Proc string
	Exit Exit
}

// wireError carries an error's words, its kind and the code of a *runtime.StartError.
type wireError struct {
	Text  string
	Kind  string `json:",omitempty"`
	Start bool   `json:",omitempty"`
	Code  int    `json:",omitempty"`
}

// kinds of error that keep their meaning on the wire.
var kinds = []struct {
	name string
	err  error
}{
	{"invalid", errdefs.ErrInvalidArgument},
	{"not-found", errdefs.ErrNotFound},
	{"exists", errdefs.ErrAlreadyExists},
	{"conflict", errdefs.ErrConflict},
	{"precondition", errdefs.ErrFailedPrecondition},
	{"unsupported", errdefs.ErrNotImplemented},
	{"unavailable", errdefs.ErrUnavailable},
}

func toWire(err error) *wireError {
	if err == nil {
		return nil
	}
	w := &wireError{Text: err.Error()}
	var start *runtime.StartError
	if errors.As(err, &start) {
		w.Start, w.Code = true, start.Code
	}
	for _, kind := range kinds {
		if errors.Is(err, kind.err) {
			w.Kind = kind.name
		}
	}
	return w
}

func (w *wireError) err() error {
	if w == nil {
		return nil
	}
	err := error(&remoteError{text: w.Text})
	for _, kind := range kinds {
		if kind.name == w.Kind {
			err = &remoteError{w.Text, kind.err}
		}
	}
	if w.Start {
		return &runtime.StartError{Code: w.Code, Err: err}
	}
	return err
}

// remoteError has the words the supervisor gave it, and a kind that adds none.
type remoteError struct {
	text string
	kind error
}

// Error gives the words.
func (e *remoteError) Error() string { return e.text }

// Unwrap gives the kind.
func (e *remoteError) Unwrap() error { return e.kind }

// maxFrame bounds what one frame may make us allocate.
const maxFrame = 32 << 20

// wire is one connection. Sending is safe for several goroutines, receiving is one goroutine's.
type wire struct {
	*sys.Socket
	sending sync.Mutex
}

// send writes one frame; body may be nil.
func (w *wire) send(h head, body any, file *os.File) error {
	h.File = file != nil
	frame := make([]byte, 8, 256)
	text, err := json.Marshal(h)
	if err != nil {
		return fmt.Errorf("encode %s: %w", h.Op, err)
	}
	frame = append(frame, text...)
	binary.BigEndian.PutUint32(frame, uint32(len(text)))
	if body != nil {
		if text, err = json.Marshal(body); err != nil {
			return fmt.Errorf("encode %s: %w", h.Op, err)
		}
		binary.BigEndian.PutUint32(frame[4:], uint32(len(text)))
		frame = append(frame, text...)
	}
	w.sending.Lock()
	defer w.sending.Unlock()
	return w.WriteFile(frame, file)
}

// receive reads one frame.
func (w *wire) receive() (h head, body []byte, file *os.File, err error) {
	lengths := make([]byte, 8)
	n, file, err := w.ReadFile(lengths)
	if err == nil {
		_, err = io.ReadFull(w, lengths[n:])
	}
	if err != nil {
		closeFile(file)
		return h, nil, nil, err
	}
	size, rest := binary.BigEndian.Uint32(lengths), binary.BigEndian.Uint32(lengths[4:])
	if size > maxFrame || rest > maxFrame {
		closeFile(file)
		return h, nil, nil, errors.New("frame is too large")
	}
	frame := make([]byte, size+rest)
	if _, err = io.ReadFull(w, frame); err == nil {
		err = json.Unmarshal(frame[:size], &h)
	}
	if err != nil || h.File != (file != nil) {
		closeFile(file)
		return h, nil, nil, errors.Join(err, errFrame)
	}
	return h, frame[size:], file, nil
}

var errFrame = errors.New("broken frame")

func closeFile(file *os.File) {
	if file != nil {
		_ = file.Close()
	}
}
