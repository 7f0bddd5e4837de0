// Package cli is the command line: it knows all commands, builds the one that is called, runs it and turns how it ended
// into an exit code. The commands themselves stand in its children, one file each; they know the daemon only through
// package client. Commands, flags, output and exit codes are those of docker's command line, so that scripts need not
// know which of the two they call.
package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"github.com/cove-containers/cove/cli/command"
	"github.com/cove-containers/cove/cli/terminal"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Main runs the command line args (without the program's name) and returns the exit code. A program that can build images
// itself says how; in one that cannot, build is nil.
func Main(args []string, build func(*command.App) *cobra.Command) int {
	a := &command.App{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Stdout: os.Stdout, Build: build}
	ctx, stop := untilSignal(context.Background(), a)
	defer stop()
	return main(ctx, a, args)
}

func main(ctx context.Context, a *command.App, args []string) int {
	a.Args = slices.Clone(args) // cobra writes over its own when it completes
	root := root(a, args)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if invalid := new(pflag.InvalidValueError); errors.As(err, &invalid) && !errors.As(err, new(*command.StatusError)) {
		err = command.FlagError(root, err) // of a flag before the command
	}
	a.Close()
	if err == nil {
		return 0
	}
	var status *command.StatusError
	var by *signaled
	switch {
	case errors.As(err, &status):
		if status.Text != "" {
			fmt.Fprintln(a.Err, status.Text)
		}
		return status.Code
	case errors.As(context.Cause(ctx), &by): // what went wrong then is only that
		return by.code()
	}
	fmt.Fprintln(a.Err, err)
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
func untilSignal(parent context.Context, a *command.App) (context.Context, func()) {
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
				a.RestoreTerminal()
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
