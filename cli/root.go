package cli

import (
	"os"
	"slices"
	"strings"

	"github.com/cove-containers/cove/cli/command"
	"github.com/cove-containers/cove/cli/container"
	"github.com/cove-containers/cove/cli/contexts"
	"github.com/cove-containers/cove/cli/image"
	"github.com/cove-containers/cove/cli/manifest"
	"github.com/cove-containers/cove/cli/network"
	"github.com/cove-containers/cove/cli/plugin"
	"github.com/cove-containers/cove/cli/registry"
	"github.com/cove-containers/cove/cli/snapshot"
	"github.com/cove-containers/cove/cli/system"
	"github.com/cove-containers/cove/cli/volume"
	"github.com/spf13/cobra"
)

// entry is one command of the first level; group is the heading it stands under in the help.
type entry struct {
	name, group string
	build       func(*command.App) *cobra.Command
}

const (
	common     = "Common Commands"
	management = "Management Commands"
	plain      = "Commands"
)

// entries are the commands of the first level. Only the one that is called is built: flags cost time.
func entries() []entry {
	return []entry{
		{"run", common, container.Run},
		{"exec", common, container.Exec},
		{"ps", common, container.Ps},
		{"build", common, image.Build},
		{"pull", common, image.Pull},
		{"push", common, image.Push},
		{"images", common, image.Images},
		{"login", common, registry.Login},
		{"logout", common, registry.Logout},
		{"search", common, registry.Search},
		{"version", common, system.Version},
		{"info", common, system.Info},
		{"builder", management, image.Builder},
		{"checkpoint", management, container.Checkpoint},
		{"container", management, container.Group},
		{"context", management, contexts.Group},
		{"image", management, image.Group},
		{"manifest", management, manifest.Group},
		{"network", management, network.Group},
		{"plugin", management, plugin.Group},
		{"registry", management, registry.Group},
		{"snapshot", management, snapshot.Group},
		{"system", management, system.Group},
		{"volume", management, volume.Group},
		{"attach", plain, container.Attach},
		{"commit", plain, container.Commit},
		{"cp", plain, container.Cp},
		{"create", plain, container.Create},
		{"diff", plain, container.Diff},
		{"events", plain, system.Events},
		{"export", plain, container.Export},
		{"history", plain, image.History},
		{"import", plain, image.Import},
		{"inspect", plain, system.Inspect},
		{"kill", plain, container.Kill},
		{"load", plain, image.Load},
		{"logs", plain, container.Logs},
		{"pause", plain, container.Pause},
		{"port", plain, container.Port},
		{"rename", plain, container.Rename},
		{"restart", plain, container.Restart},
		{"rm", plain, container.Rm},
		{"rmi", plain, image.Rmi},
		{"save", plain, image.Save},
		{"start", plain, container.Start},
		{"stats", plain, container.Stats},
		{"stop", plain, container.Stop},
		{"tag", plain, image.Tag},
		{"top", plain, container.Top},
		{"unpause", plain, container.Unpause},
		{"update", plain, container.Update},
		{"wait", plain, container.Wait},
		{"buildx", "", image.Buildx},
		{"compose", "", command.Plugin("compose")},
		{"swarm", "", command.Missing("swarm", "swarm mode")},
	}
}

// root builds the command of the program itself and, of the others, the one that args call; all of them when help or
// completion has to know them.
func root(a *command.App, args []string) *cobra.Command {
	cmd := &cobra.Command{
		Use:              command.Name + " [OPTIONS] COMMAND [ARG...]",
		Short:            "A container engine for images, containers, networks and volumes",
		SilenceUsage:     true,
		SilenceErrors:    true,
		TraverseChildren: true,
		Args:             command.UnknownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cmd.HelpFunc()(cmd, nil)
			return nil
		},
		Version:           command.Version(),
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
	}
	cmd.SetVersionTemplate("Cove version {{.Version}}\n")
	cmd.SetOut(a.Out)
	cmd.SetErr(a.Err)
	cmd.SetHelpFunc(func(c *cobra.Command, _ []string) { help(a, c) })
	cmd.SetUsageFunc(func(c *cobra.Command) error { help(a, c); return nil })
	cmd.SetFlagErrorFunc(command.FlagError)
	a.Global.Add(cmd.Flags())
	called := called(args)
	for _, e := range entries() {
		if called == "" || called == e.name {
			child := e.build(a)
			child.Annotations = withAnnotation(child.Annotations, "group", e.group)
			child.Hidden = e.group == "" || e.group == plain && os.Getenv("DOCKER_HIDE_LEGACY_COMMANDS") != ""
			cmd.AddCommand(child)
		}
	}
	if name := word(args); called == "" && name != "" {
		if _, found := a.FindPlugin(name); found {
			cmd.AddCommand(command.Plugin(name)(a))
		}
	}
	if called == "" {
		cmd.InitDefaultCompletionCmd(args...)
		completeBare(cmd)
		if slices.Contains(args, cobra.ShellCompRequestCmd) || slices.Contains(args, cobra.ShellCompNoDescRequestCmd) {
			a.CompleteFlags(cmd)
		}
	}
	cmd.SetHelpCommand(helpCommand(a, cmd))
	exactUse(cmd)
	return cmd
}

// exactUse has every command print its line of use as it is written, without "[flags]" behind it.
func exactUse(cmd *cobra.Command) {
	cmd.DisableFlagsInUseLine = true
	for _, child := range cmd.Commands() {
		exactUse(child)
	}
}

// called gives the name of the command that args call, empty when it is none of entries.
func called(args []string) string {
	name := word(args)
	if slices.ContainsFunc(entries(), func(e entry) bool { return e.name == name }) {
		return name
	}
	return ""
}

// word is the first argument that is neither a flag nor a flag's value.
func word(args []string) string {
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if !strings.HasPrefix(arg, "-") {
			return arg
		}
		if command.TakesValue(arg) {
			i++
		}
	}
	return ""
}

func withAnnotation(m map[string]string, key, val string) map[string]string {
	if m == nil {
		m = map[string]string{}
	}
	m[key] = val
	return m
}
