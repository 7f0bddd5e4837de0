package command

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cove-containers/cove/cli/config"
)

// pluginFolders are where docker's plugins are installed for everybody.
var pluginFolders = []string{
	"/usr/local/lib/docker/cli-plugins", "/usr/local/libexec/docker/cli-plugins", "/usr/lib/docker/cli-plugins", "/usr/libexec/docker/cli-plugins",
}

// Plugin makes the command that a plugin of docker's command line carries out: compose and its like run as they are.
func Plugin(name string) func(*App) *cobra.Command {
	return func(a *App) *cobra.Command {
		return &cobra.Command{
			Use:                name,
			Short:              "Run docker's plugin " + name,
			DisableFlagParsing: true,
			RunE:               func(*cobra.Command, []string) error { return a.runPlugin(name) },
		}
	}
}

// FindPlugin looks for a plugin in the configuration's folder, where the configuration says, and where they are for everybody.
func (a *App) FindPlugin(name string) (path string, found bool) {
	if strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		return "", false
	}
	file := "docker-" + name
	folders := append([]string{filepath.Join(a.ConfigFile().Dir, "cli-plugins")}, a.ConfigFile().PluginFolders...)
	if runtime.GOOS == "windows" {
		file += ".exe"
		folders = append(folders, filepath.Join(os.Getenv("ProgramData"), "Docker", "cli-plugins"), filepath.Join(os.Getenv("ProgramFiles"), "Docker", "cli-plugins"))
	} else {
		folders = append(folders, pluginFolders...)
	}
	for _, dir := range folders {
		path := filepath.Join(dir, file)
		if st, err := os.Stat(path); err == nil && st.Mode().IsRegular() {
			return path, true
		}
	}
	return "", false
}

// runPlugin becomes the plugin, which is told of the daemon by what docker's own command line goes by.
func (a *App) runPlugin(name string) error {
	path, found := a.FindPlugin(name)
	if !found {
		return &StatusError{Code: 1, Text: fmt.Sprintf("%s: '%s' is a plugin that is not installed: put docker-%s into %s", Name, name, name, filepath.Join(a.ConfigFile().Dir, "cli-plugins"))}
	}
	told := map[string]string{"DOCKER_CLI_PLUGIN_ORIGINAL_CLI_COMMAND": os.Args[0]}
	for ours, theirs := range map[string]string{"COVE_HOST": "DOCKER_HOST", "COVE_CONTEXT": "DOCKER_CONTEXT", "COVE_CONFIG": "DOCKER_CONFIG"} {
		if v := os.Getenv(ours); v != "" {
			told[theirs] = v
		}
	}
	if a.ContextName() == "default" && config.FirstEnv("COVE_HOST", "DOCKER_HOST") == "" {
		told["DOCKER_HOST"] = config.DefaultHost()
	}
	for key, value := range told {
		if err := os.Setenv(key, value); err != nil {
			return err
		}
	}
	return become(path, path, a.Args)
}
