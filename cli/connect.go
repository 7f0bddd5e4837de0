package cli

import (
	"crypto/tls"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/cove-containers/cove/cli/config"
	"github.com/cove-containers/cove/client"
	"github.com/spf13/pflag"
)

// globalFlags stand before the command: which daemon, which configuration.
type globalFlags struct {
	config, context, host, logLevel string
	hosts                           []string
	debug, tls, tlsVerify           bool
	tlsCA, tlsCert, tlsKey          string
}

func (g *globalFlags) add(fs *pflag.FlagSet) {
	fs.StringVar(&g.config, "config", "", "Folder of configuration files (default \"~/.docker\")")
	fs.StringVarP(&g.context, "context", "c", "", "Context that says how to reach the daemon (comes before COVE_HOST and DOCKER_HOST)")
	fs.BoolVarP(&g.debug, "debug", "D", false, "Enable debug mode")
	fs.StringArrayVarP(&g.hosts, "host", "H", nil, "Daemon socket to connect to")
	fs.StringVarP(&g.logLevel, "log-level", "l", "info", `Set the logging level ("debug", "info", "warn", "error", "fatal")`)
	fs.BoolVar(&g.tls, "tls", false, "Use TLS; implied by --tlsverify")
	fs.StringVar(&g.tlsCA, "tlscacert", "", "Trust daemons that this CA vouches for (default \"~/.docker/ca.pem\")")
	fs.StringVar(&g.tlsCert, "tlscert", "", "Certificate of the client (default \"~/.docker/cert.pem\")")
	fs.StringVar(&g.tlsKey, "tlskey", "", "Key of the client's certificate (default \"~/.docker/key.pem\")")
	fs.BoolVar(&g.tlsVerify, "tlsverify", false, "Use TLS and verify the daemon")
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
func (a *app) contextName() string {
	switch {
	case a.global.context != "":
		return a.global.context
	case len(a.global.hosts) > 0, os.Getenv("COVE_HOST") != "", os.Getenv("DOCKER_HOST") != "":
		return "default"
	}
	for _, name := range []string{os.Getenv("COVE_CONTEXT"), os.Getenv("DOCKER_CONTEXT"), a.configFile().CurrentContext} {
		if name != "" {
			return name
		}
	}
	return "default"
}

// client gives the daemon's client, made once. It does not connect.
func (a *app) client() (*client.Client, error) {
	if a.daemon != nil {
		return a.daemon, nil
	}
	settings, err := a.address()
	if err != nil {
		return nil, err
	}
	settings.Version = firstEnv("COVE_API_VERSION", "DOCKER_API_VERSION")
	settings.Header = http.Header{"User-Agent": {"Cove-Client"}}
	for name, value := range a.configFile().HTTPHeaders {
		settings.Header.Set(name, value)
	}
	a.daemon, err = client.New(settings)
	return a.daemon, err
}

func firstEnv(names ...string) string {
	for _, name := range names {
		if v := os.Getenv(name); v != "" {
			return v
		}
	}
	return ""
}

// address finds out where the daemon is.
func (a *app) address() (client.Config, error) {
	if name := a.contextName(); name != "default" {
		if len(a.global.hosts) > 0 {
			return client.Config{}, errors.New("conflicting options: cannot specify both --host and --context")
		}
		c, err := a.configFile().Context(name)
		if err != nil {
			return client.Config{}, err
		}
		secure, err := c.TLS()
		return client.Config{Host: c.Host, TLS: secure}, err
	}
	host := firstEnv("COVE_HOST", "DOCKER_HOST")
	switch len(a.global.hosts) {
	case 0:
	case 1:
		host = a.global.hosts[0]
	default:
		return client.Config{}, errors.New("specify only one -H")
	}
	secure, err := a.tlsConfig()
	return client.Config{Host: parseHost(host, secure != nil), TLS: secure}, err
}

// parseHost completes a daemon address: "" is the default one, "1.2.3.4" a tcp one.
func parseHost(host string, secure bool) string {
	host = strings.TrimSpace(host)
	if host == "" {
		return defaultHost()
	}
	scheme, rest, ok := strings.Cut(host, "://")
	if !ok {
		scheme, rest = "tcp", host
	}
	if scheme != "tcp" {
		return host
	}
	port := ":2375"
	if secure {
		port = ":2376"
	}
	address, path, slash := strings.Cut(rest, "/")
	if slash {
		path = "/" + path
	}
	if strings.HasPrefix(address, ":") || address == "" {
		address = "localhost" + address
	}
	if i := strings.LastIndexByte(address, ':'); i < 0 || strings.HasSuffix(address, "]") {
		address += port
	}
	return "tcp://" + address + path
}

// tlsConfig gives the TLS settings of flags and environment, nil when none is wanted.
func (a *app) tlsConfig() (*tls.Config, error) {
	g := a.global
	verify := g.tlsVerify || os.Getenv("DOCKER_TLS_VERIFY") != ""
	if !verify && !g.tls && os.Getenv("DOCKER_TLS") == "" {
		return nil, nil
	}
	dir := os.Getenv("DOCKER_CERT_PATH")
	if dir == "" {
		dir = a.configFile().Dir
	}
	file := func(flag, name string) string {
		if flag != "" {
			return flag
		}
		path := filepath.Join(dir, name)
		if _, err := os.Stat(path); err != nil && !(verify && name == "ca.pem") {
			return ""
		}
		return path
	}
	return config.TLSFiles{CA: file(g.tlsCA, "ca.pem"), Cert: file(g.tlsCert, "cert.pem"), Key: file(g.tlsKey, "key.pem"), Verify: verify}.Config()
}

func (a *app) warn(text string) { _, _ = a.err.Write([]byte("WARNING: " + text + "\n")) }
