// Package container has the commands that deal with containers. A function with a command's name builds that command.
package container

import (
	"context"
	"errors"
	"fmt"

	"github.com/cove-containers/cove/cli/command"
	"github.com/cove-containers/cove/client"
	"github.com/spf13/cobra"
)

// Group builds "container" with all that stands below it.
func Group(a *command.App) *cobra.Command {
	return command.Group("container", "Manage containers",
		Attach(a), Clone(a), Commit(a), Cp(a), Create(a), Diff(a), Exec(a), Export(a), Inspect(a), Kill(a), Logs(a), Ls(a), Pause(a), Port(a), PrintRun(a), Prune(a), Rename(a),
		Restart(a), Rm(a), Run(a), Start(a), Stats(a), Stop(a), Top(a), Unpause(a), Update(a), Wait(a))
}

// parallel is how many containers are dealt with at once.
const parallel = 50

// overAll does the same with every container, several at once, prints the names of those it worked for in the order
// given, and joins the errors of the others. An error that skip accepts is passed over.
func overAll(a *command.App, names []string, do func(name string) error, skip func(error) bool) error {
	results := make([]chan error, len(names))
	room := make(chan struct{}, parallel)
	for i, name := range names {
		results[i] = make(chan error, 1)
		go func() {
			room <- struct{}{}
			results[i] <- do(name)
			<-room
		}()
	}
	var errs []error
	for i, name := range names {
		switch err := <-results[i]; {
		case err == nil:
			fmt.Fprintln(a.Out, name)
		case skip == nil || !skip(err):
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// simple makes a command that does one thing with every container named.
func simple(a *command.App, name, options, short string, do func(ctx context.Context, daemon *client.Client, id string) error) *cobra.Command {
	return &cobra.Command{
		Use:               name + " " + options + "CONTAINER [CONTAINER...]",
		Short:             short,
		Args:              command.AtLeast(1),
		Annotations:       command.Aliases("container "+name, name),
		ValidArgsFunction: a.CompleteContainers,
		RunE: a.Call(func(ctx context.Context, daemon *client.Client, args []string) error {
			return overAll(a, args, func(id string) error { return do(ctx, daemon, id) }, nil)
		}),
	}
}
