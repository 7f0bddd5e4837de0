// Package cli is the command line: flags in, text out; one file for each command. It knows the daemon only through
// package client. Commands, flags, output and exit codes are those of docker's command line, so that scripts need not
// know which of the two they call.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"

	"github.com/cove-containers/cove/cli/config"
	"github.com/cove-containers/cove/cli/terminal"
	"github.com/cove-containers/cove/client"
)

// Name is what the program calls itself in its messages.
const Name = "cove"

// app is one run of the program: its streams, and what commands share.
type app struct {
	in       *os.File
	out, err io.Writer
	stdout   *os.File // what out writes to, when that is a file
	global   globalFlags
	settings *config.File
	daemon   *client.Client
	restore  atomic.Pointer[func()] // gives the terminal back
}

// statusError ends the program with a code; its text, which may be empty, is printed as it is.
type statusError struct {
	code  int
	text  string
	cause error
}

func (e *statusError) Error() string { return e.text }
func (e *statusError) Unwrap() error { return e.cause }

// exit is the error that ends the program with code and says nothing.
func exit(code int) error {
	if code == 0 {
		return nil
	}
	return &statusError{code: code}
}

// Main runs the command line args (without the program's name) and returns the exit code.
func Main(args []string) int {
	a := &app{in: os.Stdin, out: os.Stdout, err: os.Stderr, stdout: os.Stdout}
	ctx, stop := a.untilSignal(context.Background())
	defer stop()
	return a.main(ctx, args)
}

func (a *app) main(ctx context.Context, args []string) int {
	root := a.root(args)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if a.daemon != nil {
		a.daemon.Close()
	}
	if err == nil {
		return 0
	}
	var status *statusError
	var by *signaled
	switch {
	case errors.As(err, &status):
		if status.text != "" {
			fmt.Fprintln(a.err, status.text)
		}
		return status.code
	case errors.As(context.Cause(ctx), &by): // what went wrong then is only that
		return by.code()
	}
	fmt.Fprintln(a.err, err)
	return 1
}

// signaled is why a context ended: a signal came.
type signaled struct{ os.Signal }

func (s *signaled) Error() string { return "terminated by " + s.Signal.String() }

// code is what shells expect of a program that a signal has ended.
func (s *signaled) code() int {
	if n, ok := s.Signal.(syscall.Signal); ok {
		return 128 + int(n)
	}
	return 1
}

// untilSignal gives a context that ends with the first signal that asks the program to. The third one ends the
// program whatever it is doing.
func (a *app) untilSignal(parent context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 3)
	signal.Notify(signals, terminal.TerminationSignals()...)
	go func() {
		for n := 1; ; n++ {
			s, ok := <-signals
			if !ok {
				return
			}
			cancel(&signaled{s})
			if n == 3 {
				if restore := a.restore.Load(); restore != nil {
					(*restore)()
				}
				fmt.Fprintln(os.Stderr, "\ngot 3 SIGTERM/SIGINTs, forcefully exiting")
				os.Exit(1)
			}
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(signals)
		cancel(nil)
	}
}
