package shim

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"syscall"
	"time"

	"github.com/containerd/errdefs"

	"github.com/cove-containers/cove/sys"
)

// Stream is an attachment.
type Stream struct {
	socket *sys.Socket

	mu     sync.Mutex // of sending input
	frame  []byte
	silent bool // no input can follow
}

func noExec(id string) error { return errdefs.ErrNotFound.WithMessage("No such exec instance: " + id) }

// Attach connects a client to the streams of the container (proc empty) or of an exec. It is in place when Attach
// returns, also before Create: no byte written later is missed. Several clients may be attached; one that does not read
// holds 1 MiB for it and then, as in dockerd, the container's own writing.
func (s *Shim) Attach(ctx context.Context, proc string, o AttachOptions) (*Stream, error) {
	socket, err := sys.ConnectSocket(ctx, s.dir, socketName)
	if err != nil {
		return nil, fmt.Errorf("attach: %w", errors.Join(err, errdefs.ErrUnavailable))
	}
	if deadline, ok := ctx.Deadline(); ok {
		_ = socket.SetDeadline(deadline)
	}
	w := &wire{Socket: socket}
	err = w.send(head{ID: 1, Op: opAttach}, attaching{proc, o}, nil)
	var h head
	if err == nil {
		h, _, _, err = w.receive()
	}
	if err == nil {
		err = h.Error.err()
	}
	if err != nil {
		_ = socket.Close()
		return nil, fmt.Errorf("attach: %w", err)
	}
	_ = socket.SetDeadline(time.Time{})
	return &Stream{socket: socket, silent: !o.Stdin}, nil
}

// Read gives docker's frames (8 bytes of header), or plain bytes for a process with a terminal. It ends with io.EOF when
// the process has ended and everything it wrote was read.
func (s *Stream) Read(p []byte) (int, error) {
	n, err := s.socket.Read(p)
	if errors.Is(err, syscall.ECONNRESET) { // the supervisor ended with input unread: its output was complete
		err = io.EOF
	}
	return n, err
}

// errSilent is the answer to input after its end.
var errSilent = errors.New("standard input is closed")

// Write sends to standard input.
func (s *Stream) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	written := 0
	for written < len(p) {
		if s.silent {
			return written, errSilent
		}
		piece := p[written:min(len(p), written+maxInput)]
		s.frame = binary.BigEndian.AppendUint32(s.frame[:0], uint32(len(piece)))
		s.frame = append(s.frame, piece...)
		if _, err := s.socket.Write(s.frame); err != nil {
			s.silent = true
			return written, err
		}
		written += len(piece)
	}
	return written, nil
}

// CloseWrite ends the client's input. It ends the process's input if that was to end with its client (StdinOnce, every
// exec); otherwise, and with a terminal, it ends the attachment, as in dockerd.
func (s *Stream) CloseWrite() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.silent {
		return nil
	}
	s.silent = true
	_, err := s.socket.Write(make([]byte, 4))
	return err
}

// closePatience is how long a client that leaves tries to end its input in good order.
const closePatience = 100 * time.Millisecond

// Close detaches. The process goes on; its input ends if it was to end with this client. A daemon that is killed does
// not end it.
func (s *Stream) Close() error {
	_ = s.socket.SetDeadline(time.Now().Add(closePatience))
	_ = s.CloseWrite()
	return s.socket.Close()
}
