package container

import (
	"context"
	"errors"
	"io"

	"github.com/cove-containers/cove/cli/command"
	"github.com/cove-containers/cove/client"
	"github.com/spf13/cobra"
)

func Export(a *command.App) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:               "export [OPTIONS] CONTAINER",
		Short:             "Export a container's filesystem as a tar archive",
		Args:              command.Exactly(1),
		Annotations:       command.Aliases("container export", "export"),
		ValidArgsFunction: a.CompleteContainers,
		RunE: a.Call(func(ctx context.Context, daemon *client.Client, args []string) error {
			if output == "" && a.OutputIsTerminal() {
				return errors.New("cowardly refusing to save to a terminal. Use the -o flag or redirect")
			}
			if err := command.CheckOutput("export container", output); err != nil {
				return err
			}
			archive, err := daemon.ContainerExport(ctx, args[0])
			if err != nil {
				return err
			}
			defer archive.Close()
			if output == "" {
				_, err = io.Copy(a.Out, archive)
				return err
			}
			return command.WriteOutput(output, archive)
		}),
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", "Write to a file, instead of STDOUT")
	return cmd
}
