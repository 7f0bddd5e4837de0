// Package contexts has the commands that deal with contexts, the names under which daemons are known. A function with
// a command's name builds that command. Contexts are kept where docker's command line keeps them, in the same form.
package contexts

import (
	"slices"
	"strings"

	"github.com/cove-containers/cove/cli/command"
	"github.com/cove-containers/cove/cli/config"
	"github.com/spf13/cobra"
)

// Group builds "context" with all that stands below it.
func Group(a *command.App) *cobra.Command {
	return command.Group("context", "Manage contexts",
		Create(a), Export(a), Import(a), Inspect(a), Ls(a), Rm(a), Show(a), Update(a), Use(a))
}

// known lists the contexts by name, that of flags and environment among them.
func known(a *command.App) ([]config.Context, error) {
	standard, err := current(a)
	if err != nil {
		return nil, err
	}
	others, err := a.ConfigFile().Contexts()
	all := append(others, standard)
	slices.SortFunc(all, func(x, y config.Context) int { return strings.Compare(x.Name, y.Name) })
	return all, err
}

// current is the context of who has chosen none.
func current(a *command.App) (config.Context, error) {
	m, _, err := a.ConfigFile().Whole("default", a.Global.Choice)
	if err != nil {
		return config.Context{}, err
	}
	e, err := m.Daemon()
	return config.Context{Metadata: m, Host: e.Host, SkipTLSVerify: e.SkipTLSVerify}, err
}
