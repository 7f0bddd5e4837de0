package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"

	"github.com/cove-containers/cove/cli/terminal"
	"github.com/cove-containers/cove/client"
	"github.com/moby/moby/api/pkg/stdcopy"
)

// session is a user at the streams of a process in a container.
type session struct {
	app    *app
	stream *client.Stream
	tty    bool
	stdin  bool
	keys   []byte
	// what is not attached is nil
	stdout, stderr io.Writer
	restore        func()
}

// detachKeys gives the keys of --detach-keys, else of the configuration, else ctrl-p ctrl-q.
func (a *app) detachKeys(flag string) (names string, keys []byte, err error) {
	names = flag
	if names == "" {
		names = a.configFile().DetachKeys
	}
	use := names
	if use == "" {
		use = terminal.DefaultDetachKeys
	}
	if keys, err = terminal.Keys(use); err != nil {
		return "", nil, fmt.Errorf("invalid detach keys (%s): %w", use, err)
	}
	return names, keys, nil
}

// checkInput refuses a terminal for the container when standard input, which is to feed it, is none.
func (a *app) checkInput(stdin, tty bool) error {
	if stdin && tty && !terminal.Is(a.in) {
		return errors.New("the input device is not a TTY")
	}
	return nil
}

// size gives height and width of the user's terminal, zero when there is none.
func (a *app) size() (height, width uint) {
	if a.stdout == nil {
		return 0, 0
	}
	return terminal.Size(a.stdout)
}

// outputIsTerminal tells whether the user sees standard output on a terminal.
func (a *app) outputIsTerminal() bool { return a.stdout != nil && terminal.Is(a.stdout) }

// prepare puts the terminal into the state the session needs; close puts it back.
func (s *session) prepare() error {
	s.restore = func() {}
	if !s.tty || !s.stdin {
		return nil
	}
	restore, err := terminal.Raw(s.app.in, s.app.stdout)
	if err != nil {
		return fmt.Errorf("unable to set IO streams as raw terminal: %w", err)
	}
	s.restore = restore
	s.app.restore.Store(&restore)
	return nil
}

// close ends the session and gives the terminal back.
func (s *session) close() {
	s.restore()
	s.stream.Close()
}

// run carries bytes both ways until all output has come, or ctx ends, or the user detaches, which is
// terminal.ErrDetached.
func (s *session) run(ctx context.Context) error {
	defer s.restore()
	input := make(chan error, 1)
	output := make(chan error, 1)
	go func() { input <- s.send() }()
	if s.stdout == nil && s.stderr == nil {
		output = nil
	} else {
		go func() { output <- s.receive() }()
	}
	for {
		select {
		case err := <-output:
			return err
		case err := <-input:
			if errors.Is(err, terminal.ErrDetached) {
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
func (s *session) send() error {
	if s.stdin {
		var in io.Reader = s.app.in
		if s.tty {
			in = terminal.Detach(in, s.keys)
		}
		if _, err := io.Copy(struct{ io.Writer }{s.stream}, in); errors.Is(err, terminal.ErrDetached) {
			return err
		}
	}
	_ = s.stream.CloseWrite() // a daemon that has gone away shows in the output
	return nil
}

// receive carries output: raw from a terminal, else frame by frame.
func (s *session) receive() error {
	stdout, stderr := orDiscard(s.stdout), orDiscard(s.stderr)
	var err error
	if s.tty {
		_, err = io.Copy(stdout, s.stream)
		s.restore()
	} else {
		_, err = stdcopy.StdCopy(stdout, stderr, s.stream)
	}
	return err
}

func orDiscard(w io.Writer) io.Writer {
	if w == nil {
		return io.Discard
	}
	return w
}

// forwardSignals hands the signals this program gets on to send, from the moment started is closed. The function it
// gives ends that.
func forwardSignals(started <-chan struct{}, send func(name string)) (stop func()) {
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

// followSize tells resize the terminal's size at once, for daemons that did not take it before, and again whenever it
// changes. The function it gives ends that.
func (a *app) followSize(resize func(height, width uint) error) (stop func()) {
	height, width := a.size()
	set := func() {
		if h, w := a.size(); h != 0 || w != 0 {
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
				if h, w := a.size(); h != height || w != width {
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
