package cli

import (
	"context"
	"net/http"

	"github.com/cove-containers/cove/cli/config"
	"github.com/cove-containers/cove/client"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// globalFlags stand before the command: which daemon, which configuration.
type globalFlags struct {
	config.Choice
	config, logLevel string
	debug            bool
}

func (g *globalFlags) add(fs *pflag.FlagSet) {
	fs.StringVar(&g.config, "config", "", "Folder of configuration files (default \"~/.docker\")")
	fs.StringVarP(&g.Context, "context", "c", "", "Context that says how to reach the daemon (comes before COVE_HOST and DOCKER_HOST)")
	fs.BoolVarP(&g.debug, "debug", "D", false, "Enable debug mode")
	fs.StringArrayVarP(&g.Hosts, "host", "H", nil, "Daemon socket to connect to")
	fs.StringVarP(&g.logLevel, "log-level", "l", "info", `Set the logging level ("debug", "info", "warn", "error", "fatal")`)
	fs.BoolVar(&g.TLS, "tls", false, "Use TLS; implied by --tlsverify")
	fs.StringVar(&g.Files.CA, "tlscacert", "", "Trust daemons that this CA vouches for (default \"~/.docker/ca.pem\")")
	fs.StringVar(&g.Files.Cert, "tlscert", "", "Certificate of the client (default \"~/.docker/cert.pem\")")
	fs.StringVar(&g.Files.Key, "tlskey", "", "Key of the client's certificate (default \"~/.docker/key.pem\")")
	fs.BoolVar(&g.Files.Verify, "tlsverify", false, "Use TLS and verify the daemon")
	fs.BoolP("version", "v", false, "Print version information and quit")
}

// takesValue tells whether the value of a global flag is the next argument.
func takesValue(arg string) bool {
	switch arg {
	case "--config", "--context", "-c", "--host", "-H", "--log-level", "-l", "--tlscacert", "--tlscert", "--tlskey":
		return true
	}
	return false
}

// configFile reads the configuration, once. What cannot be read is warned of and taken for empty.
func (a *app) configFile() *config.File {
	if a.settings == nil {
		dir := a.global.config
		if dir == "" {
			dir = config.DefaultDir()
		}
		var err error
		if a.settings, err = config.Load(dir); err != nil {
			a.warn(err.Error())
		}
	}
	return a.settings
}

// contextName says which context is in force; "default" is none.
func (a *app) contextName() string { return a.configFile().ContextName(a.global.Choice) }

// client gives the daemon's client, made once. It does not connect.
func (a *app) client() (*client.Client, error) {
	if a.daemon != nil {
		return a.daemon, nil
	}
	host, secure, err := a.configFile().Address(a.global.Choice)
	if err != nil {
		return nil, err
	}
	settings := client.Config{Host: host, TLS: secure}
	settings.Version = config.FirstEnv("COVE_API_VERSION", "DOCKER_API_VERSION")
	settings.Header = http.Header{"User-Agent": {"Cove-Client"}}
	for name, value := range a.configFile().HTTPHeaders {
		settings.Header.Set(name, value)
	}
	a.daemon, err = client.New(settings)
	return a.daemon, err
}

// call makes a command of what it does with the daemon.
func (a *app) call(do func(ctx context.Context, daemon *client.Client, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		daemon, err := a.client()
		if err != nil {
			return err
		}
		return do(cmd.Context(), daemon, args)
	}
}

func (a *app) warn(text string) { _, _ = a.err.Write([]byte("WARNING: " + text + "\n")) }
