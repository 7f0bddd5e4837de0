package command

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
)

// NoArgs refuses every argument.
func NoArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return argError(cmd, "accepts no arguments", "Run")
}

// AtLeast refuses fewer than n arguments.
func AtLeast(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) >= n {
			return nil
		}
		return argError(cmd, fmt.Sprintf("requires at least %d %s", n, arguments(n)), "See")
	}
}

// AtMost refuses more than n arguments.
func AtMost(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) <= n {
			return nil
		}
		return argError(cmd, fmt.Sprintf("requires at most %d %s", n, arguments(n)), "Run")
	}
}

// Exactly refuses any other number of arguments than n.
func Exactly(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == n {
			return nil
		}
		return argError(cmd, fmt.Sprintf("requires %d %s", n, arguments(n)), "Run")
	}
}

func arguments(n int) string {
	if n == 1 {
		return "argument"
	}
	return "arguments"
}

func argError(cmd *cobra.Command, what, verb string) error {
	return fmt.Errorf("%s: '%s' %s\n\nUsage:  %s\n\n%s '%s --help' for more information",
		Name, cmd.CommandPath(), what, cmd.UseLine(), verb, cmd.CommandPath())
}

// UnknownCommand refuses the arguments of a command that only holds others.
func UnknownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	usage := ""
	if cmd.HasParent() {
		usage = "Usage:  " + cmd.CommandPath() + "\n\n"
	}
	return fmt.Errorf("%s: unknown command: %s %s\n\n%s%sRun '%s --help' for more information", Name, cmd.CommandPath(), args[0], meantCommand(cmd, args[0]), usage, cmd.CommandPath())
}

// FlagError is what is said of flags that cannot be read.
func FlagError(cmd *cobra.Command, err error) error {
	return &StatusError{Code: 125, Cause: err, Text: fmt.Sprintf("%s\n\n%sUsage:  %s\n\nRun '%s --help' for more information", err, meantFlag(cmd, err), cmd.UseLine(), cmd.CommandPath())}
}

// WithHelp gives an error of create and run its form and its exit code.
func WithHelp(err error, command string, code int) error {
	var status *StatusError
	if errors.As(err, &status) {
		return err
	}
	return &StatusError{Code: code, Cause: err, Text: fmt.Sprintf("%s: %s\n\nRun '%s %s --help' for more information", Name, err, Name, command)}
}

// Between refuses fewer than low and more than high arguments.
func Between(low, high int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) >= low && len(args) <= high {
			return nil
		}
		return argError(cmd, fmt.Sprintf("requires at least %d and at most %d %s", low, high, arguments(high)), "Run")
	}
}
