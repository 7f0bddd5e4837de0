package terminal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"

	"github.com/cove-containers/cove/client"
	"github.com/moby/moby/api/pkg/stdcopy"
)

// Session is a user at the streams of a process in a container.
type Session struct {
	// Stream is the connection to the process.
	Stream *client.Stream
	// TTY tells that the process has a terminal: one stream, and keys that detach.
	TTY  bool
	Keys []byte
	// In feeds the process; nil when nothing does.
	In *os.File
	// Screen is the terminal behind Stdout, nil when there is none.
	Screen *os.File
	// Stdout and Stderr take its output; nil is not attached.
	Stdout, Stderr io.Writer
	restore        func()
}

// Prepare puts the user's terminal into the state the session needs. Close, and the function it gives, put it back.
func (s *Session) Prepare() (restore func(), err error) {
	s.restore = func() {}
	if s.TTY && s.In != nil {
		if s.restore, err = Raw(s.In, s.Screen); err != nil {
			err = fmt.Errorf("unable to set IO streams as raw terminal: %w", err)
		}
	}
	return s.restore, err
}

// Close ends the session and gives the terminal back.
func (s *Session) Close() {
	if s.restore != nil {
		s.restore()
	}
	s.Stream.Close()
}

// Run carries bytes both ways until all output has come, or ctx ends, or the user detaches, which is ErrDetached.
func (s *Session) Run(ctx context.Context) error {
	defer s.restore()
	input := make(chan error, 1)
	output := make(chan error, 1)
	go func() { input <- s.send() }()
	if s.Stdout == nil && s.Stderr == nil {
		output = nil
	} else {
		go func() { output <- s.receive() }()
	}
	for {
		select {
		case err := <-output:
			return err
		case err := <-input:
			if errors.Is(err, ErrDetached) {
				return err
			}
			if output == nil {
				return nil
			}
			input = nil // output goes on after the end of input
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// send carries standard input, and tells its end.
func (s *Session) send() error {
	if s.In != nil {
		var in io.Reader = s.In
		if s.TTY {
			in = Detach(in, s.Keys)
		}
		if _, err := io.Copy(struct{ io.Writer }{s.Stream}, in); errors.Is(err, ErrDetached) {
			return err
		}
	}
	_ = s.Stream.CloseWrite() // a daemon that has gone away shows in the output
	return nil
}

// receive carries output: raw from a terminal, else frame by frame.
func (s *Session) receive() error {
	stdout, stderr := orDiscard(s.Stdout), orDiscard(s.Stderr)
	var err error
	if s.TTY {
		_, err = io.Copy(stdout, s.Stream)
		s.restore()
	} else {
		_, err = stdcopy.StdCopy(stdout, stderr, s.Stream)
	}
	return err
}

func orDiscard(w io.Writer) io.Writer {
	if w == nil {
		return io.Discard
	}
	return w
}

// ForwardSignals hands the signals this program gets on to send, from the moment started is closed. The function it
// gives ends that.
func ForwardSignals(started <-chan struct{}, send func(name string)) (stop func()) {
	signals := make(chan os.Signal, 128)
	signal.Notify(signals)
	done := make(chan struct{})
	go func() {
		select {
		case <-started:
		case <-done:
			return
		}
		for {
			select {
			case s := <-signals:
				if name, ok := signalName(s); ok {
					send(name)
				}
			case <-done:
				return
			}
		}
	}()
	return func() {
		signal.Stop(signals)
		close(done)
	}
}

// FollowSize tells resize the size of terminal f at once, for daemons that did not take it before, and again whenever it
// changes. The function it gives ends that.
func FollowSize(f *os.File, resize func(height, width uint) error) (stop func()) {
	height, width := Size(f)
	set := func() {
		if h, w := Size(f); h != 0 || w != 0 {
			height, width = h, w
			_ = resize(h, w) // the process may have ended just now
		}
	}
	signals := make(chan os.Signal, 1)
	var tick <-chan time.Time
	if list := resizeSignals(); list != nil {
		signal.Notify(signals, list...)
	} else {
		ticker := time.NewTicker(250 * time.Millisecond)
		tick = ticker.C
	}
	done := make(chan struct{})
	set()
	go func() {
		for {
			select {
			case <-signals:
				set()
			case <-tick:
				if h, w := Size(f); h != height || w != width {
					set()
				}
			case <-done:
				return
			}
		}
	}()
	return func() {
		signal.Stop(signals)
		close(done)
	}
}
