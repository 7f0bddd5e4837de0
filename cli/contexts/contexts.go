// Package contexts has the commands that deal with contexts, the names under which daemons are known. A function with
// a command's name builds that command.
package contexts

import (
	"github.com/cove-containers/cove/cli/command"
	"github.com/cove-containers/cove/cli/config"
	"github.com/spf13/cobra"
)

// Group builds "context" with all that stands below it.
func Group(a *command.App) *cobra.Command {
	return command.Group("context", "Manage contexts", Ls(a), Show(a), Use(a), Inspect(a),
		command.Missing("create", "making contexts")(a), command.Missing("rm", "removing contexts")(a))
}

// known lists the contexts, the one of flags and environment first.
func known(a *command.App) ([]config.Context, error) {
	standard := config.Context{Name: "default", Description: "Current DOCKER_HOST based configuration", Host: config.DefaultHost()}
	if host := config.FirstEnv("COVE_HOST", "DOCKER_HOST"); host != "" {
		standard.Host = config.ParseHost(host, false)
	}
	others, err := a.ConfigFile().Contexts()
	return append([]config.Context{standard}, others...), err
}
