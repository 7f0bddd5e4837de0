// Package plugin has the commands that deal with the daemon's plugins. A function with a command's name builds that command.
package plugin

import (
	"context"
	"fmt"

	"github.com/cove-containers/cove/cli/command"
	"github.com/cove-containers/cove/client"
	"github.com/spf13/cobra"
)

// Group builds "plugin" with all that stands below it.
func Group(a *command.App) *cobra.Command {
	return command.Group("plugin", "Manage plugins",
		Create(a), Disable(a), Enable(a), Inspect(a), Install(a), Ls(a), Push(a), Rm(a), Set(a), Upgrade(a))
}

// one makes a command that does one thing with the plugin named, and prints its name.
func one(a *command.App, use, short string, do func(ctx context.Context, daemon *client.Client, name string) error) *cobra.Command {
	return &cobra.Command{
		Use:               use,
		Short:             short,
		Args:              command.Exactly(1),
		ValidArgsFunction: a.CompletePlugins,
		RunE: a.Call(func(ctx context.Context, daemon *client.Client, args []string) error {
			if err := do(ctx, daemon, args[0]); err != nil {
				return err
			}
			fmt.Fprintln(a.Out, args[0])
			return nil
		}),
	}
}

func Enable(a *command.App) *cobra.Command {
	var timeout int
	cmd := one(a, "enable [OPTIONS] PLUGIN", "Enable a plugin", func(ctx context.Context, daemon *client.Client, name string) error {
		if timeout < 0 {
			return fmt.Errorf("negative timeout %d is invalid", timeout)
		}
		return daemon.PluginEnable(ctx, name, timeout)
	})
	cmd.Flags().IntVar(&timeout, "timeout", 30, "Seconds that the plugin may take to start")
	return cmd
}

func Disable(a *command.App) *cobra.Command {
	var force bool
	cmd := one(a, "disable [OPTIONS] PLUGIN", "Disable a plugin", func(ctx context.Context, daemon *client.Client, name string) error {
		return daemon.PluginDisable(ctx, name, force)
	})
	cmd.Flags().BoolVarP(&force, "force", "f", false, "Disable it while it is in use, too")
	return cmd
}

func Rm(a *command.App) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:               "rm [OPTIONS] PLUGIN [PLUGIN...]",
		Short:             "Remove one or more plugins",
		Aliases:           []string{"remove"},
		Args:              command.AtLeast(1),
		Annotations:       command.Aliases("plugin rm", "plugin remove"),
		ValidArgsFunction: a.CompletePlugins,
		RunE: a.Call(func(ctx context.Context, daemon *client.Client, args []string) error {
			return a.Each(args, func(name string) error { return daemon.PluginRemove(ctx, name, force) })
		}),
	}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "Remove plugins that are enabled, too")
	return cmd
}

func Set(a *command.App) *cobra.Command {
	return &cobra.Command{
		Use:               "set PLUGIN KEY=VALUE [KEY=VALUE...]",
		Short:             "Change settings for a plugin",
		Args:              command.AtLeast(2),
		ValidArgsFunction: a.CompletePlugins,
		RunE: a.Call(func(ctx context.Context, daemon *client.Client, args []string) error {
			return daemon.PluginSet(ctx, args[0], args[1:])
		}),
	}
}

func Inspect(a *command.App) *cobra.Command {
	var layout string
	cmd := &cobra.Command{
		Use:               "inspect [OPTIONS] PLUGIN [PLUGIN...]",
		Short:             "Display detailed information on one or more plugins",
		Args:              command.AtLeast(1),
		ValidArgsFunction: a.CompletePlugins,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.InspectAll(cmd.Context(), args, layout, Find)
		},
	}
	cmd.Flags().StringVarP(&layout, "format", "f", "", command.InspectUsage)
	return cmd
}

// Find describes a plugin for inspect commands.
func Find(ctx context.Context, daemon *client.Client, name string) (any, []byte, error) {
	return command.Describe(daemon.PluginInspect(ctx, name))
}
