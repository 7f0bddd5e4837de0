package registry

import (
	"encoding/json"
	"io"
	"strings"

	"github.com/cove-containers/cove/cli/command"
	"github.com/cove-containers/cove/ref"
	"github.com/cove-containers/cove/remote"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// ours is the registry that is meant when none is named: where "registry serve" listens.
const ours = "localhost:5000"

// Group builds "registry" with all that stands below it.
func Group(a *command.App) *cobra.Command {
	return command.Group("registry", "Run a registry, and manage what is in one", Serve(a), Ls(a), Rm(a), Du(a), Gc(a))
}

// calling is what the commands that speak to a registry have in common.
type calling struct{ insecure, json bool }

func (c *calling) add(fs *pflag.FlagSet) {
	fs.BoolVar(&c.insecure, "insecure", false, "Do without valid TLS")
	fs.BoolVar(&c.json, "json", false, "Print JSON")
}

func (c *calling) reach(a *command.App, host string) (*remote.Client, *remote.Session, error) {
	return a.Registry(host, c.insecure)
}

// print writes one JSON document.
func print(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "    ")
	return e.Encode(v)
}

func first(args []string) string {
	if len(args) == 0 {
		return ours
	}
	return args[0]
}

// split takes what a command is told of a registry, "HOST[:PORT][/REPOSITORY[:TAG|@DIGEST]]"; a name without a
// repository has an empty path.
func split(text string) (ref.Name, error) {
	text = strings.TrimPrefix(strings.TrimPrefix(text, "https://"), "http://")
	text = strings.TrimSuffix(text, "/")
	// A host alone is one before which any repository may stand.
	n, err := ref.Parse(text + "/x")
	if err == nil && (n.Path == "x" || n.Path == "library/x" && text != "library") {
		return ref.Name{Host: n.Host}, nil
	}
	return ref.Parse(text)
}
