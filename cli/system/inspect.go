package system

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/cove-containers/cove/cli/command"
	"github.com/cove-containers/cove/cli/container"
	"github.com/cove-containers/cove/cli/image"
	"github.com/cove-containers/cove/cli/network"
	"github.com/cove-containers/cove/cli/volume"
	"github.com/cove-containers/cove/client"
	"github.com/spf13/cobra"
)

func Inspect(a *command.App) *cobra.Command {
	var layout, kind string
	var size bool
	const kinds = `config", "container", "image", "network", "node", "plugin", "secret", "service", "task", "volume`
	cmd := &cobra.Command{
		Use:               "inspect [OPTIONS] NAME|ID [NAME|ID...]",
		Short:             "Return low-level information on objects of the engine",
		Args:              command.AtLeast(1),
		ValidArgsFunction: a.CompleteAnything,
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("type") && kind == "" {
				return fmt.Errorf(`type is empty: must be one of "%s"`, kinds)
			}
			find := findAny(size)
			switch kind {
			case "":
			case "container":
				find = container.Find(size)
			case "image":
				find = image.Find
			case "network":
				find = network.Find
			case "volume":
				find = volume.Find
			default:
				if strings.Contains(`"`+kinds+`"`, `"`+kind+`"`) {
					return fmt.Errorf("inspecting a %s is not supported yet", kind)
				}
				return fmt.Errorf(`unknown type: %q: must be one of "%s"`, kind, kinds)
			}
			if size && kind != "" && kind != "container" {
				a.Warn("--size ignored for " + kind)
			}
			return a.InspectAll(cmd.Context(), args, layout, find)
		},
	}
	fs := cmd.Flags()
	fs.StringVarP(&layout, "format", "f", "", command.InspectUsage)
	fs.BoolVarP(&size, "size", "s", false, "Display total file sizes if the type is container")
	fs.StringVar(&kind, "type", "", "Only inspect objects of this type")
	return cmd
}

// findAny looks among containers first, then images, networks and volumes.
func findAny(size bool) command.Finder {
	return func(ctx context.Context, daemon *client.Client, name string) (any, []byte, error) {
		for _, find := range []command.Finder{container.Find(size), image.Find, network.Find, volume.Find} {
			typed, raw, err := find(ctx, daemon, name)
			if err == nil || !passable(err) {
				return typed, raw, err
			}
		}
		return nil, nil, errors.New("Error: No such object: " + name) //nolint:staticcheck // docker's words
	}
}

// passable tells whether an error only says that an object is of another kind.
func passable(err error) bool {
	return errdefs.IsNotFound(err) || strings.Contains(err.Error(), "not supported") || strings.Contains(err.Error(), "invalid reference format")
}
