package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/cove-containers/cove/client"
	"github.com/spf13/cobra"
)

// parallel is how many containers are dealt with at once.
const parallel = 50

// overAll does the same with every container, several at once, prints the names of those it worked for in the order
// given, and joins the errors of the others. An error that skip accepts is passed over.
func (a *app) overAll(names []string, do func(name string) error, skip func(error) bool) error {
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
			fmt.Fprintln(a.out, name)
		case skip == nil || !skip(err):
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// simple makes a command that does one thing with every container named.
func (a *app) simple(name, options, short string, do func(ctx context.Context, daemon *client.Client, id string) error) *cobra.Command {
	return &cobra.Command{
		Use:               name + " " + options + "CONTAINER [CONTAINER...]",
		Short:             short,
		Args:              atLeast(1),
		Annotations:       aliases("container "+name, name),
		ValidArgsFunction: a.completeContainers,
		RunE: a.call(func(ctx context.Context, daemon *client.Client, args []string) error {
			return a.overAll(args, func(id string) error { return do(ctx, daemon, id) }, nil)
		}),
	}
}
