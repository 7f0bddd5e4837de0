package config

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/cove-containers/cove/api"
)

// Choice is what the command line says of the daemon to talk to.
type Choice struct {
	Context string
	Hosts   []string // more than one is an error
	TLS     bool
	Files   TLSFiles // the empty ones are looked for in the usual folder
}

// ContextName says which context is in force; "default" is none.
func (f *File) ContextName(c Choice) string {
	switch {
	case c.Context != "":
		return c.Context
	case len(c.Hosts) > 0, FirstEnv("COVE_HOST", "DOCKER_HOST") != "":
		return "default"
	}
	for _, name := range []string{FirstEnv("COVE_CONTEXT", "DOCKER_CONTEXT"), f.CurrentContext} {
		if name != "" {
			return name
		}
	}
	return "default"
}

// FirstEnv gives the first of the named variables of the environment that is not empty.
func FirstEnv(names ...string) string {
	for _, name := range names {
		if v := os.Getenv(name); v != "" {
			return v
		}
	}
	return ""
}

// Address finds out where the daemon is and, when it is to be spoken to by TLS, how.
func (f *File) Address(c Choice) (host string, secure *tls.Config, err error) {
	if name := f.ContextName(c); name != "default" {
		if len(c.Hosts) > 0 {
			return "", nil, errors.New("conflicting options: cannot specify both --host and --context")
		}
		context, err := f.Context(name)
		if err != nil {
			return "", nil, err
		}
		secure, err = context.TLS()
		return context.Host, secure, err
	}
	host = FirstEnv("COVE_HOST", "DOCKER_HOST")
	switch len(c.Hosts) {
	case 0:
	case 1:
		host = c.Hosts[0]
	default:
		return "", nil, errors.New("Specify only one -H") //nolint:staticcheck // docker's words
	}
	secure, err = f.tlsConfig(c)
	if err != nil {
		return "", nil, err
	}
	host, err = ParseHost(host, secure != nil)
	return host, secure, err
}

// ParseHost completes a daemon address: "" is the default one, "1.2.3.4" a tcp one. What is no address is refused in docker's words.
func ParseHost(host string, secure bool) (string, error) {
	host = strings.TrimSpace(host)
	if host == "" {
		return DefaultHost(), nil
	}
	scheme, rest, ok := strings.Cut(host, "://")
	if !ok {
		scheme, rest = "tcp", host
	}
	switch scheme {
	case "tcp", "unix", "npipe":
		if strings.Contains(rest, "://") {
			return "", fmt.Errorf("invalid proto, expected %s: %s", scheme, rest)
		}
	case "http", "https", "ssh", "fd":
		return host, nil
	default:
		return "", fmt.Errorf("invalid bind address format: %s", host)
	}
	switch {
	case scheme == "unix":
		return "unix://" + cmp.Or(rest, api.DefaultSocket), nil
	case scheme == "npipe":
		return "npipe://" + cmp.Or(rest, defaultPipe), nil
	}
	return tcpHost(rest, secure)
}

// defaultPipe is where a daemon on Windows listens.
const defaultPipe = "//./pipe/cove_engine"

// tcpHost completes HOST[:PORT][/PATH].
func tcpHost(rest string, secure bool) (string, error) {
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
	address = strings.TrimSuffix(address, ":")
	if i := strings.LastIndexByte(address, ':'); i < 0 || strings.HasSuffix(address, "]") {
		address += port
	}
	host := "tcp://" + address + path
	_, err := url.Parse(host)
	return host, err
}

// tlsConfig gives the TLS settings of flags and environment, nil when none is wanted.
func (f *File) tlsConfig(c Choice) (*tls.Config, error) {
	files, wanted := f.tlsFiles(c)
	if !wanted {
		return nil, nil
	}
	return files.Config()
}

// tlsFiles tells whether flags and environment want TLS, and with which files.
func (f *File) tlsFiles(c Choice) (files TLSFiles, wanted bool) {
	verify := c.Files.Verify || os.Getenv("DOCKER_TLS_VERIFY") != ""
	if !verify && !c.TLS && os.Getenv("DOCKER_TLS") == "" {
		return TLSFiles{}, false
	}
	dir := os.Getenv("DOCKER_CERT_PATH")
	if dir == "" {
		dir = f.Dir
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
	return TLSFiles{CA: file(c.Files.CA, "ca.pem"), Cert: file(c.Files.Cert, "cert.pem"), Key: file(c.Files.Key, "key.pem"), Verify: verify}, true
}
