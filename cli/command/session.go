package command

import (
	"errors"
	"fmt"

	"github.com/cove-containers/cove/cli/terminal"
	"github.com/cove-containers/cove/client"
)

// DetachKeys gives the keys of --detach-keys, else of the configuration, else ctrl-p ctrl-q.
func (a *App) DetachKeys(flag string) (names string, keys []byte, err error) {
	names = flag
	if names == "" {
		names = a.ConfigFile().DetachKeys
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

// CheckInput refuses a terminal for the container when standard input, which is to feed it, is none.
func (a *App) CheckInput(stdin, tty bool) error {
	if stdin && tty && !terminal.Is(a.In) {
		return errors.New("the input device is not a TTY")
	}
	return nil
}

// Size gives height and width of the user's terminal, zero when there is none.
func (a *App) Size() (height, width uint) { return terminal.Size(a.Stdout) }

// OutputIsTerminal tells whether the user sees standard output on a terminal.
func (a *App) OutputIsTerminal() bool { return terminal.Is(a.Stdout) }

// Session makes a user's session at stream; what is not wanted of standard input and output is false.
func (a *App) Session(stream *client.Stream, tty bool, keys []byte, stdin, stdout, stderr bool) *terminal.Session {
	s := &terminal.Session{Stream: stream, TTY: tty, Keys: keys, Screen: a.Stdout}
	if stdin {
		s.In = a.In
	}
	if stdout || stderr && tty {
		s.Stdout = a.Out
	}
	if stderr {
		s.Stderr = a.Err
	}
	return s
}

// Prepare puts the terminal into the state s needs, and sees to it that it is put back even if the program is forced
// to end.
func (a *App) Prepare(s *terminal.Session) error {
	restore, err := s.Prepare()
	a.restore.Store(&restore)
	return err
}

// FollowSize keeps the process's terminal as large as the user's.
func (a *App) FollowSize(tty bool, resize func(height, width uint) error) (stop func()) {
	if !tty || !a.OutputIsTerminal() {
		return func() {}
	}
	return terminal.FollowSize(a.Stdout, resize)
}

// RestoreTerminal puts the terminal back, for a program that is forced to end.
func (a *App) RestoreTerminal() {
	if restore := a.restore.Load(); restore != nil {
		(*restore)()
	}
}
