package manifest

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/errdefs"
	"github.com/cove-containers/cove/cli/command"
	"github.com/cove-containers/cove/ref"
	"github.com/spf13/cobra"
)

func Create(a *command.App) *cobra.Command {
	var amend, insecure bool
	cmd := &cobra.Command{
		Use:               "create [OPTIONS] MANIFEST_LIST MANIFEST [MANIFEST...]",
		Short:             "Create a local manifest list for annotating and pushing to a registry",
		Args:              command.AtLeast(2),
		ValidArgsFunction: complete(a),
		RunE: func(cmd *cobra.Command, args []string) error {
			target, err := parse(args[0])
			if err != nil {
				return fmt.Errorf("error parsing name for manifest list %s: %w", args[0], err)
			}
			switch _, err := lists(a).list(target); {
			case errdefs.IsNotFound(err):
			case err != nil:
				return err
			case !amend:
				return errors.New("refusing to amend an existing manifest list with no --amend flag")
			}
			for _, text := range args[1:] {
				name, err := parse(text)
				if err != nil {
					return err
				}
				if err := add(cmd.Context(), a, target, name, insecure); err != nil {
					return err
				}
			}
			fmt.Fprintln(a.Out, "Created manifest list", target)
			return nil
		},
	}
	cmd.Flags().BoolVarP(&amend, "amend", "a", false, "Amend an existing manifest list")
	cmd.Flags().BoolVar(&insecure, "insecure", false, "Allow communication with an insecure registry")
	return cmd
}

// add puts a manifest into a list. One that is there already keeps its annotations.
func add(ctx context.Context, a *command.App, target, name ref.Name, insecure bool) error {
	if e, err := lists(a).get(target, name); err == nil && len(e.Raw) > 0 {
		return nil
	}
	d, err := open(a, name, insecure)
	if err != nil {
		return err
	}
	defer d.close()
	e, err := d.entry(ctx, name)
	if err != nil {
		return err
	}
	return lists(a).put(target, name, e)
}
