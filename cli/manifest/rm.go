package manifest

import (
	"errors"

	"github.com/cove-containers/cove/cli/command"
	"github.com/spf13/cobra"
)

func Rm(a *command.App) *cobra.Command {
	return &cobra.Command{
		Use:               "rm MANIFEST_LIST [MANIFEST_LIST...]",
		Short:             "Delete one or more manifest lists from local storage",
		Args:              command.AtLeast(1),
		ValidArgsFunction: complete(a),
		RunE: func(_ *cobra.Command, args []string) error {
			var errs []error
			for _, text := range args {
				name, err := parse(text)
				if err == nil {
					_, err = lists(a).list(name)
				}
				if err == nil {
					err = lists(a).remove(name)
				}
				errs = append(errs, err)
			}
			return errors.Join(errs...)
		},
	}
}
