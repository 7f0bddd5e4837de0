package build

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/containerd/errdefs"
	control "github.com/moby/buildkit/api/services/control"
	"github.com/moby/buildkit/client"
)

// tape is the progress of a build on disk, so that whoever comes late hears everything and memory holds nothing of it:
// messages of BuildKit's Status call, each after its length in four bytes, the lowest first. It is what the history keeps
// as a build's log.
type tape struct {
	path string
	file *os.File

	mu      sync.Mutex
	size    int64
	err     error
	ended   bool
	left    bool          // the build has let go of it
	readers int           // who has the file open besides the build; -1 once it is closed
	change  chan struct{} // closed when there is more
}

// errClosed is what follow gives when the build has let go of its tape.
var errClosed = errors.New("the build has ended")

// maxTape bounds what a build may write there, its clipped logs included.
const maxTape = 256 << 20

func newTape(path string) (*tape, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("make the log of a build: %w", err)
	}
	return &tape{path: path, file: f, readers: 1, change: make(chan struct{})}, nil
}

// write adds to the tape. That it cannot be written does not end a build: listeners learn of it.
func (t *tape) write(s *client.SolveStatus) {
	var raw []byte
	for _, m := range s.Marshal() {
		body, err := m.MarshalVT()
		if err != nil {
			continue // nothing that was made here
		}
		raw = binary.LittleEndian.AppendUint32(raw, uint32(len(body)))
		raw = append(raw, body...)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err != nil || t.ended || t.size > maxTape {
		return
	}
	n, err := t.file.WriteAt(raw, t.size)
	if err != nil {
		t.err = fmt.Errorf("write the log of a build: %w", err)
	} else {
		t.size += int64(n)
	}
	close(t.change)
	t.change = make(chan struct{})
}

// end tells listeners that there will be no more.
func (t *tape) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.ended {
		t.ended = true
		close(t.change)
	}
}

// follow emits everything from the start to the end of the build.
func (t *tape) follow(ctx context.Context, emit func(*client.SolveStatus) error) error {
	if !t.use(1) {
		return errClosed
	}
	defer t.use(-1)
	var at int64
	for {
		t.mu.Lock()
		size, ended, failed, change := t.size, t.ended, t.err, t.change
		t.mu.Unlock()
		if at < size {
			if err := play(io.NewSectionReader(t.file, at, size-at), emit); err != nil {
				return err
			}
			at = size
			continue
		}
		if ended || failed != nil {
			return failed
		}
		select {
		case <-change:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// batch is how many messages are put into one for a listener who is behind.
const batch = 200

// play emits what a tape, or a part of it, holds.
func play(r io.Reader, emit func(*client.SolveStatus) error) error {
	in := bufio.NewReaderSize(r, 64<<10)
	sum, n := &client.SolveStatus{}, 0
	for {
		var head [4]byte
		_, err := io.ReadFull(in, head[:])
		if err == io.EOF {
			break
		}
		if err != nil {
			return broken(err)
		}
		size := binary.LittleEndian.Uint32(head[:])
		if size > maxTape {
			return broken(errors.New("a message of impossible size"))
		}
		body := make([]byte, size)
		if _, err := io.ReadFull(in, body); err != nil {
			return broken(err)
		}
		m := &control.StatusResponse{}
		if err := m.UnmarshalVT(body); err != nil {
			return broken(err)
		}
		s := client.NewSolveStatus(m)
		sum.Vertexes = append(sum.Vertexes, s.Vertexes...)
		sum.Statuses = append(sum.Statuses, s.Statuses...)
		sum.Logs = append(sum.Logs, s.Logs...)
		sum.Warnings = append(sum.Warnings, s.Warnings...)
		if n++; n == batch {
			if err := emit(sum); err != nil {
				return err
			}
			sum, n = &client.SolveStatus{}, 0
		}
	}
	if n == 0 {
		return nil
	}
	return emit(sum)
}

func broken(err error) error {
	return fmt.Errorf("the log of a build is damaged: %w: %w", err, errdefs.ErrDataLoss)
}

// discard is close for a tape that nobody needs any more.
func (t *tape) discard() {
	t.close()
	os.Remove(t.path)
}

// close lets go of the file, once; the caller removes or keeps it. Who follows still reads to the end.
func (t *tape) close() {
	t.end()
	t.mu.Lock()
	left := t.left
	t.left = true
	t.mu.Unlock()
	if !left {
		t.use(-1)
	}
}

// use counts who has the file open, the build itself among them, and tells whether it is.
func (t *tape) use(n int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.readers < 0 {
		return false
	}
	if t.readers += n; t.readers == 0 {
		t.readers = -1
		t.file.Close()
	}
	return true
}
