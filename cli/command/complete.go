package command

import (
	"maps"
	"slices"
	"strings"

	"github.com/cove-containers/cove/api"
	"github.com/cove-containers/cove/client"
	"github.com/spf13/cobra"
)

// Nothing is the answer to a word that can be anything but a file.
const Nothing = cobra.ShellCompDirectiveNoFileComp

// states are those of the containers that commands have a use for; what is not named takes any.
var states = map[string][]string{
	"attach": {"running"}, "exec": {"running"}, "kill": {"running", "paused"}, "pause": {"running"}, "port": {"running"},
	"start": {"created", "exited"}, "stats": {"running"}, "stop": {"running", "paused", "restarting"}, "top": {"running"},
	"unpause": {"paused"}, "wait": {"running", "paused", "created"},
}

// CompleteContainers offers the names of containers that the command has a use for and that it has not been told yet.
func (a *App) CompleteContainers(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 && oneOnly(cmd) {
		return nil, Nothing
	}
	return without(args, a.Containers(cmd, states[cmd.Name()]...)), Nothing
}

// Containers are the names of the containers in one of these states, all when there are none.
func (a *App) Containers(cmd *cobra.Command, states ...string) []string {
	daemon, err := a.Client()
	if err != nil {
		return nil
	}
	filters := api.Filters{}
	for _, s := range states {
		filters.Add("status", s)
	}
	list, err := daemon.ContainerList(cmd.Context(), client.ListOptions{All: true, Filters: filters})
	if err != nil {
		return nil
	}
	var names []string
	for _, c := range list {
		for _, n := range c.Names {
			names = append(names, strings.TrimPrefix(n, "/"))
		}
	}
	return names
}

// oneOnly tells whether a command takes but one container.
func oneOnly(cmd *cobra.Command) bool { return !strings.Contains(cmd.Use, "[CONTAINER...]") }

// without leaves out what has been said already.
func without(said, names []string) []string {
	return slices.DeleteFunc(names, func(n string) bool { return slices.Contains(said, n) })
}

// CompleteImages offers the names of images, and behind the image of a command line in a container files.
func (a *App) CompleteImages(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	daemon, err := a.Client()
	if err != nil || len(args) > 0 && !strings.Contains(cmd.Use, "[IMAGE...]") {
		return nil, cobra.ShellCompDirectiveDefault
	}
	list, err := daemon.ImageList(cmd.Context(), client.ImageListOptions{})
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var names []string
	for _, i := range list {
		names = append(names, i.RepoTags...)
	}
	return without(args, names), Nothing
}

// CompleteVolumes offers the names of volumes.
func (a *App) CompleteVolumes(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	daemon, err := a.Client()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	list, err := daemon.VolumeList(cmd.Context(), nil)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var names []string
	for _, v := range list.Volumes {
		names = append(names, v.Name)
	}
	return without(args, names), Nothing
}

// CompletePlugins offers the names of the daemon's plugins.
func (a *App) CompletePlugins(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	daemon, err := a.Client()
	if err != nil || len(args) > 0 && !strings.Contains(cmd.Use, "[PLUGIN...]") {
		return nil, Nothing
	}
	list, err := daemon.PluginList(cmd.Context(), nil)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var names []string
	for _, p := range list {
		names = append(names, p.Name)
	}
	return without(args, names), Nothing
}

// CompleteNetworks offers the names of networks.
func (a *App) CompleteNetworks(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	daemon, err := a.Client()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	list, err := daemon.NetworkList(cmd.Context(), nil)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var names []string
	for _, n := range list {
		names = append(names, n.Name)
	}
	return without(args, names), Nothing
}

// CompleteAnything offers containers, images, volumes and networks.
func (a *App) CompleteAnything(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	names := a.Containers(cmd)
	for _, more := range []cobra.CompletionFunc{a.CompleteImages, a.CompleteVolumes, a.CompleteNetworks} {
		list, _ := more(cmd, nil, word)
		names = append(names, list...)
	}
	return without(args, names), Nothing
}

// CompleteContexts offers the names of contexts.
func (a *App) CompleteContexts(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 && !strings.Contains(cmd.Use, "...]") {
		return nil, Nothing
	}
	list, err := a.ConfigFile().Contexts()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	names := []string{"default"}
	for _, c := range list {
		names = append(names, c.Name)
	}
	return without(args, names), Nothing
}

// CompleteRegistries offers the registries the user has signed in to.
func (a *App) CompleteRegistries(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, Nothing
	}
	return a.ConfigFile().Registries(), Nothing
}

// CompletePath offers "container:" for a word that is one end of a copy, besides the files that are here.
func (a *App) CompletePath(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	switch {
	case len(args) > 1 || strings.Contains(word, ":"):
		return nil, Nothing
	case strings.ContainsAny(word, "/."):
		return nil, cobra.ShellCompDirectiveDefault
	}
	var ends []string
	for _, name := range a.Containers(cmd) {
		if strings.HasPrefix(name, word) {
			ends = append(ends, name+":")
		}
	}
	if len(ends) == 0 {
		return nil, cobra.ShellCompDirectiveDefault
	}
	return ends, cobra.ShellCompDirectiveNoSpace
}

// sorted are the keys of a map.
func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
