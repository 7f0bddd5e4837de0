package command

import (
	"strings"

	"github.com/cove-containers/cove/client"
	"github.com/spf13/cobra"
)

// CompleteContainers offers the names of containers.
func (a *App) CompleteContainers(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	daemon, err := a.Client()
	if err != nil || len(args) > 0 && oneOnly(cmd) {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	list, err := daemon.ContainerList(cmd.Context(), client.ListOptions{All: true})
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var names []string
	for _, c := range list {
		for _, n := range c.Names {
			names = append(names, strings.TrimPrefix(n, "/"))
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// oneOnly tells whether a command takes but one container.
func oneOnly(cmd *cobra.Command) bool { return !strings.Contains(cmd.Use, "[CONTAINER...]") }

// CompleteImages offers the names of images.
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
	return names, cobra.ShellCompDirectiveNoFileComp
}

// CompleteVolumes offers the names of volumes.
func (a *App) CompleteVolumes(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
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
	return names, cobra.ShellCompDirectiveNoFileComp
}
