package cli

import (
	"errors"
	"fmt"

	"github.com/cove-containers/cove/cli/terminal"
	"github.com/cove-containers/cove/client"
)

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
func (a *app) size() (height, width uint) { return terminal.Size(a.stdout) }

// outputIsTerminal tells whether the user sees standard output on a terminal.
func (a *app) outputIsTerminal() bool { return terminal.Is(a.stdout) }

// session makes a user's session at stream; what is not wanted of standard input and output is false.
func (a *app) session(stream *client.Stream, tty bool, keys []byte, stdin, stdout, stderr bool) *terminal.Session {
	s := &terminal.Session{Stream: stream, TTY: tty, Keys: keys, Screen: a.stdout}
	if stdin {
		s.In = a.in
	}
	if stdout || stderr && tty {
		s.Stdout = a.out
	}
	if stderr {
		s.Stderr = a.err
	}
	return s
}

// prepare puts the terminal into the state s needs, and sees to it that it is put back even if the program is forced
// to end.
func (a *app) prepare(s *terminal.Session) error {
	restore, err := s.Prepare()
	a.restore.Store(&restore)
	return err
}

// followSize keeps the process's terminal as large as the user's.
func (a *app) followSize(tty bool, resize func(height, width uint) error) (stop func()) {
	if !tty || !a.outputIsTerminal() {
		return func() {}
	}
	return terminal.FollowSize(a.stdout, resize)
}
