package container

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/errdefs"
	"github.com/cove-containers/cove/cli/command"
	"github.com/cove-containers/cove/cli/commandline"
	"github.com/cove-containers/cove/client"
	"github.com/spf13/cobra"
)

func PrintRun(a *command.App) *cobra.Command {
	var wishes commandline.Wishes
	var pretty bool
	cmd := &cobra.Command{
		Use:   "print-run [OPTIONS] CONTAINER [CONTAINER...]",
		Short: "Print the command line that would make a container again",
		Long: "Print the command line that would make a container again.\n" +
			"What the image or the daemon sets by itself is left out; what no option can express is noted on standard error.",
		Args:              command.AtLeast(1),
		ValidArgsFunction: a.CompleteContainers,
		RunE: a.Call(func(ctx context.Context, daemon *client.Client, args []string) error {
			program := []string{command.Name, "run"}
			if wishes.Docker {
				program[0] = "docker"
			}
			var errs []error
			for _, name := range args {
				line, err := lineOf(ctx, daemon, name, wishes)
				if err != nil {
					errs = append(errs, err)
					continue
				}
				for _, note := range line.Notes {
					a.Warn(note)
				}
				fmt.Fprintln(a.Out, line.Text(program, pretty))
			}
			return errors.Join(errs...)
		}),
	}
	fs := cmd.Flags()
	fs.BoolVar(&wishes.Docker, "docker", false, "Write it for docker's command line")
	fs.BoolVar(&wishes.Pin, "pin", false, "Name the image by its ID, whatever its tag means by now")
	fs.BoolVar(&pretty, "pretty", false, "Put every option on a line of its own")
	fs.BoolVar(&wishes.SameVolumes, "same-volumes", false, "Mount the container's anonymous volumes instead of making new ones")
	return cmd
}

// lineOf gives the command line of a container. That its image is gone, or has another meaning now, is no failure.
func lineOf(ctx context.Context, daemon *client.Client, name string, wishes commandline.Wishes) (line commandline.Line, err error) {
	c, _, err := daemon.ContainerInspect(ctx, name, false)
	if err != nil {
		return line, err
	}
	var known commandline.Known
	if known.Daemon, _, err = daemon.Info(ctx); err != nil {
		return line, err
	}
	switch img, _, err := daemon.ImageInspect(ctx, c.Image, nil); {
	case err == nil:
		known.Image = &img
	case !errdefs.IsNotFound(err):
		return line, err
	}
	line = commandline.Of(c, known, wishes)
	if known.Image != nil && !wishes.Pin && c.Config != nil && c.Config.Image != c.Image {
		if now, _, err := daemon.ImageInspect(ctx, c.Config.Image, nil); err != nil || now.ID != c.Image {
			line.Notes = append(line.Notes, c.Config.Image+" is not the image the container was made of any more; --pin names that one")
		}
	}
	return line, nil
}
