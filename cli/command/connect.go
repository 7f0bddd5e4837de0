package command

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"

	"github.com/cove-containers/cove/api"
	"github.com/cove-containers/cove/cli/config"
	"github.com/cove-containers/cove/client"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Flags stand before the command: which daemon, which configuration.
type Flags struct {
	config.Choice
	config, logLevel string
	Debug            bool
}

// Add declares the flags in fs.
func (g *Flags) Add(fs *pflag.FlagSet) {
	fs.StringVar(&g.config, "config", "", "Folder of configuration files (default \"~/.docker\")")
	fs.StringVarP(&g.Context, "context", "c", "", "Context that says how to reach the daemon (comes before COVE_HOST and DOCKER_HOST)")
	fs.BoolVarP(&g.Debug, "debug", "D", false, "Enable debug mode")
	fs.StringArrayVarP(&g.Hosts, "host", "H", nil, "Daemon socket to connect to")
	fs.StringVarP(&g.logLevel, "log-level", "l", "info", `Set the logging level ("debug", "info", "warn", "error", "fatal")`)
	fs.BoolVar(&g.TLS, "tls", false, "Use TLS; implied by --tlsverify")
	fs.StringVar(&g.Files.CA, "tlscacert", "", "Trust daemons that this CA vouches for (default \"~/.docker/ca.pem\")")
	fs.StringVar(&g.Files.Cert, "tlscert", "", "Certificate of the client (default \"~/.docker/cert.pem\")")
	fs.StringVar(&g.Files.Key, "tlskey", "", "Key of the client's certificate (default \"~/.docker/key.pem\")")
	fs.BoolVar(&g.Files.Verify, "tlsverify", false, "Use TLS and verify the daemon")
	fs.BoolP("version", "v", false, "Print version information and quit")
}

// TakesValue tells whether the value of a global flag is the next argument.
func TakesValue(arg string) bool {
	switch arg {
	case "--config", "--context", "-c", "--host", "-H", "--log-level", "-l", "--tlscacert", "--tlscert", "--tlskey":
		return true
	}
	return false
}

// ConfigFile reads the configuration, once. What cannot be read is warned of and taken for empty.
func (a *App) ConfigFile() *config.File {
	if a.settings == nil {
		dir := a.Global.config
		if dir == "" {
			dir = config.DefaultDir()
		}
		var err error
		if a.settings, err = config.Load(dir); err != nil {
			a.Warn(err.Error())
		}
	}
	return a.settings
}

// ContextName says which context is in force; "default" is none.
func (a *App) ContextName() string { return a.ConfigFile().ContextName(a.Global.Choice) }

// Client gives the daemon's client, made once. It does not connect.
func (a *App) Client() (*client.Client, error) {
	if a.daemon != nil {
		return a.daemon, nil
	}
	if level := a.Global.logLevel; !slices.Contains([]string{"", "trace", "debug", "info", "warn", "warning", "error", "fatal", "panic"}, strings.ToLower(level)) {
		return nil, &StatusError{Code: 1, Text: "Unable to parse logging level: " + level}
	}
	if len(a.Global.Hosts) > 0 && a.Global.Context != "" {
		return nil, errors.New("conflicting options: cannot specify both --host and --context")
	}
	host, secure, err := a.ConfigFile().Address(a.Global.Choice)
	if err != nil {
		return nil, fmt.Errorf("Failed to initialize: unable to resolve docker endpoint: %w", err) //nolint:staticcheck // docker's words
	}
	settings := client.Config{Host: host, TLS: secure}
	if Name == "docker" {
		settings.Daemon = "Docker"
	}
	settings.Version = config.FirstEnv("COVE_API_VERSION", "DOCKER_API_VERSION")
	if settings.Header, err = a.headers(); err != nil {
		return nil, fmt.Errorf("Failed to initialize: %w", err) //nolint:staticcheck // docker's words
	}
	if a.daemon, err = client.New(settings); err != nil {
		return nil, fmt.Errorf("Failed to initialize: %w", err) //nolint:staticcheck // docker's words
	}
	return a.daemon, nil
}

// headers are those that the user wants sent with every request: of the environment if there are any, else of the configuration.
func (a *App) headers() (http.Header, error) {
	h := http.Header{"User-Agent": {"Cove-Client"}}
	const variable = "DOCKER_CUSTOM_HEADERS"
	given := os.Getenv(variable)
	if given == "" {
		for name, value := range a.ConfigFile().HTTPHeaders {
			h.Set(name, value)
		}
		return h, nil
	}
	fields, err := csv.NewReader(strings.NewReader(given)).Read()
	if err != nil {
		return nil, fmt.Errorf("failed to parse custom headers from %s environment variable: value must be formatted as comma-separated key=value pairs", variable)
	}
	for _, field := range fields {
		name, value, ok := strings.Cut(field, "=")
		name = strings.TrimSpace(name)
		switch {
		case name == "":
			return nil, fmt.Errorf("failed to set custom headers from %s environment variable: value contains a key=value pair with an empty key: '%s'", variable, field)
		case !ok:
			return nil, fmt.Errorf(`failed to set custom headers from %s environment variable: missing "=" in key=value pair: '%s'`, variable, field)
		}
		h.Set(name, value)
	}
	return h, nil
}

// Call makes a command of what it does with the daemon.
func (a *App) Call(do func(ctx context.Context, daemon *client.Client, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		daemon, err := a.Client()
		if err != nil {
			return err
		}
		return do(cmd.Context(), daemon, args)
	}
}

// DefaultPlatform is the platform that the user's environment asks for.
func DefaultPlatform() string {
	return config.FirstEnv("COVE_DEFAULT_PLATFORM", "DOCKER_DEFAULT_PLATFORM")
}

// Warn tells the user something on standard error that stops nothing.
func (a *App) Warn(text string) { _, _ = a.Err.Write([]byte("WARNING: " + text + "\n")) }

// APIVersion is the version of the API that is spoken with the daemon.
func (a *App) APIVersion() string {
	if a.daemon != nil {
		return a.daemon.Version()
	}
	return api.Version
}

// Close ends the connections to the daemon.
func (a *App) Close() {
	if a.daemon != nil {
		a.daemon.Close()
	}
}

// IsConnect tells whether the daemon could not be reached at all.
func IsConnect(err error) bool {
	var connect *client.ConnectError
	return errors.As(err, &connect)
}
