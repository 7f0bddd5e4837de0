package shim

import (
	"errors"
	"io"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/cove-containers/cove/runtime"
	"github.com/cove-containers/cove/sys"
)

const (
	// pipeSize is what the kernel holds between the process and us.
	pipeSize = 256 << 10
	// pieceSize is how much output is read at once.
	pieceSize = 32 << 10
	// lastWords is how long processes that the container left behind may keep its output open, as in dockerd.
	lastWords = 2 * time.Second
)

// streams are the standard streams of one process and the clients attached to them.
type streams struct {
	running chan struct{} // closed by unlock: input can be given
	unlock  func()

	mu      sync.Mutex
	clients []*client // never changed in place
	framed  bool
	once    bool // input ends with its client
	late    bool // no client may hold the process back any more
	over    bool // no output comes any more

	input   *os.File   // nil: the process reads nothing
	outputs []*os.File // what the pumps read
	theirs  []*os.File // the process's ends, until it has them
	pumps   sync.WaitGroup
	writers *sync.WaitGroup // the goroutines that write to clients, of all streams of the supervisor
}

func newStreams(writers *sync.WaitGroup) *streams {
	running := make(chan struct{})
	return &streams{running: running, unlock: sync.OnceFunc(func() { close(running) }), framed: true, writers: writers}
}

// settings of the streams of one process.
type settings struct {
	stdin, once, terminal bool
	width, height         uint16
}

// prepare makes the pipes, or leaves it to the runtime to make a terminal.
func (s *streams) prepare(set settings) (runtime.IO, error) {
	s.mu.Lock()
	s.framed, s.once = !set.terminal, set.once && !set.terminal
	s.mu.Unlock()
	if set.terminal {
		return runtime.IO{Terminal: true, Width: set.width, Height: set.height}, nil
	}
	var rio runtime.IO
	if set.stdin {
		ours, theirs, err := sys.WritePipe(pipeSize)
		if err != nil {
			return rio, err
		}
		s.input, rio.Stdin = ours, theirs
		s.theirs = append(s.theirs, theirs)
	}
	for _, end := range []**os.File{&rio.Stdout, &rio.Stderr} {
		ours, theirs, err := sys.ReadPipe(pipeSize)
		if err != nil {
			s.abandon()
			return rio, err
		}
		*end = theirs
		s.outputs = append(s.outputs, ours)
		s.theirs = append(s.theirs, theirs)
	}
	return rio, nil
}

// abandon closes everything of a process that was never made.
func (s *streams) abandon() {
	for _, file := range append(append(s.theirs, s.outputs...), s.input) {
		closeFile(file)
	}
	s.theirs, s.outputs, s.input = nil, nil, nil
	s.end()
}

// adopt takes the terminal of a process that was made, and lets go of its ends of the pipes.
func (s *streams) adopt(console *os.File, stdin bool) error {
	for _, file := range s.theirs {
		closeFile(file)
	}
	s.theirs = nil
	if console == nil {
		return nil
	}
	master, err := sys.Pollable(console)
	_ = console.Close()
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.outputs = []*os.File{master}
	if stdin {
		s.input = master
	}
	return nil
}

// start lets output flow into the logs, one for each output, and to the clients.
func (s *streams) start(logs ...io.WriteCloser) {
	for i, out := range s.outputs {
		var log io.WriteCloser
		if i < len(logs) {
			log = logs[i]
		}
		s.pumps.Go(func() { s.pump(out, byte(stdout+i), log) })
	}
	s.unlock()
}

// pump moves output until it ends or finish sets a bound.
func (s *streams) pump(out *os.File, source byte, log io.WriteCloser) {
	buf := make([]byte, pieceSize)
	for {
		n, err := out.Read(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			s.drain(out, source, log, buf)
			break
		}
		s.give(source, log, buf[:n])
		if err != nil { // end of file; of a terminal: EIO
			break
		}
	}
	if log != nil {
		_ = log.Close()
	}
}

// drain takes what lies in the pipe, but not what somebody left behind goes on to write.
func (s *streams) drain(out *os.File, source byte, log io.WriteCloser, buf []byte) {
	for taken := 0; taken <= pipeSize; {
		n, err := sys.ReadNow(out, buf)
		if err != nil {
			return
		}
		s.give(source, log, buf[:n])
		taken += n
	}
}

// give puts output into the log first: no client can hold it back there.
func (s *streams) give(source byte, log io.WriteCloser, p []byte) {
	if len(p) == 0 {
		return
	}
	if log != nil {
		_, _ = log.Write(p) // a log that cannot be written must not stop the container
	}
	s.mu.Lock()
	framed, clients := s.framed, s.clients
	s.mu.Unlock()
	for _, c := range clients {
		c.put(source, framed, p)
	}
}

// finish is called when the process has ended: everything it wrote reaches log and clients. What processes left behind
// write is waited for until patience is over; after that no slow client holds the end back either.
func (s *streams) finish(patience time.Duration) {
	for _, file := range s.theirs {
		closeFile(file)
	}
	s.theirs = nil
	done := make(chan struct{})
	go func() { s.pumps.Wait(); close(done) }()
	deadline := time.Now().Add(patience)
	for _, out := range s.outputs {
		_ = out.SetReadDeadline(deadline)
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
		s.mu.Lock()
		s.late = true
		s.mu.Unlock()
		s.each(func(c *client) { c.free = true })
		<-done
	}
	s.closeInput()
	for _, out := range s.outputs {
		_ = out.Close()
	}
	s.end()
}

// end lets every client have what is pending for it and go.
func (s *streams) end() {
	s.mu.Lock()
	s.over = true
	s.mu.Unlock()
	s.unlock()
	s.each(func(c *client) { c.ending = true })
}

func (s *streams) each(change func(c *client)) {
	s.mu.Lock()
	clients := s.clients
	s.mu.Unlock()
	for _, c := range clients {
		c.mark(change)
	}
}

func (s *streams) closeInput() {
	s.mu.Lock()
	input := s.input
	s.input = nil
	s.mu.Unlock()
	closeFile(input)
}

// attach adds a client. answer is called once the client's place is certain, before any output is sent.
func (s *streams) attach(socket *sys.Socket, wants AttachOptions, answer func() error) {
	c := newClient(socket, wants)
	s.mu.Lock()
	if err := answer(); err != nil {
		s.mu.Unlock()
		_ = socket.Close()
		return
	}
	c.free, c.ending = s.late, s.over
	s.clients = append(slices.Clip(s.clients), c)
	s.writers.Go(c.write)
	s.mu.Unlock()
	s.serveInput(c)
	s.mu.Lock()
	s.clients = slices.DeleteFunc(slices.Clone(s.clients), func(o *client) bool { return o == c })
	s.mu.Unlock()
}

// serveInput passes a client's input on until the client is gone.
func (s *streams) serveInput(c *client) {
	err := c.readInput(func(p []byte) {
		if c.wants.Stdin {
			s.feed(p)
		}
	})
	if err == nil && c.wants.Stdin {
		<-s.running
		if s.once {
			s.closeInput()
		} else {
			c.mark(func(c *client) { c.ending = true })
		}
	}
	for err == nil { // nothing else is to come but the hang-up
		err = c.readInput(func([]byte) {})
	}
	c.mark(func(c *client) { c.gone = true })
	_ = c.socket.Close()
}

// feed writes input to the process, once it runs. A process that has closed its input, or ended, takes none.
func (s *streams) feed(p []byte) {
	<-s.running
	s.mu.Lock()
	input := s.input
	s.mu.Unlock()
	if input != nil {
		_, _ = input.Write(p)
	}
}
