package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/docker/go-units"
	"github.com/spf13/pflag"

	"github.com/cove-containers/cove/registry/access"
	"github.com/cove-containers/cove/registry/proxy"
	"github.com/cove-containers/cove/remote"
	"github.com/cove-containers/cove/repository"
	"github.com/cove-containers/cove/repository/s3"
)

// registrySettings are the flags of a registry, of one that stands alone or, behind the prefix "registry-", of the daemon's.
type registrySettings struct {
	listen                              []string
	tlsCert, tlsKey                     string
	htpasswd, rights                    string
	anonymous, token                    bool
	tokenKey, tokenRealm, tokenService  string
	tokenLife                           time.Duration
	proxy, proxyUser, proxyPasswordFile string
	proxyFresh, proxyKeep               time.Duration
	quotas                              []string
	maxManifest                         string
	uploadExpiry, gcInterval, gcGrace   time.Duration
	gcUntagged, readOnly                bool
	certsDirs                           []string // of the daemon, when it is the daemon's
	root, spool                         string
	s3                                  s3.Config
}

func (s *registrySettings) add(f *pflag.FlagSet, prefix string) {
	f.StringVar(&s.tlsCert, prefix+"tls-cert", "", "Certificate (with its chain) of the registry; read again when it changes")
	f.StringVar(&s.tlsKey, prefix+"tls-key", "", "Private key of the registry's certificate")
	f.StringVar(&s.htpasswd, prefix+"htpasswd", "", "Accounts of the registry: a file made with \"htpasswd -B\"")
	f.StringVar(&s.rights, prefix+"rights", "", "File with lines \"USERS REPOSITORIES ACTIONS\"; without one every account may do everything")
	f.BoolVar(&s.anonymous, prefix+"anonymous", false, "Let everybody pull everything, accounts or not")
	f.BoolVar(&s.token, prefix+"token", false, "Have clients get tokens for their passwords (token service at /token)")
	f.StringVar(&s.tokenKey, prefix+"token-key", "", "Private keys (EC P-256, PEM) that sign tokens; the first signs, all are accepted (default: one made beside the data)")
	f.StringVar(&s.tokenRealm, prefix+"token-realm", "", "URL of the token service as clients reach it (default: /token at the address they use)")
	f.StringVar(&s.tokenService, prefix+"token-service", "cove-registry", "Name of the registry in tokens; all replicas have the same")
	f.DurationVar(&s.tokenLife, prefix+"token-expiry", 5*time.Minute, "How long a token is good")
	f.StringVar(&s.proxy, prefix+"proxy", "", "Be a pull-through cache of the registry with this URL, e.g. https://registry-1.docker.io")
	f.StringVar(&s.proxyUser, prefix+"proxy-username", "", "Account at the cached registry")
	f.StringVar(&s.proxyPasswordFile, prefix+"proxy-password-file", "", "File with the password of that account")
	f.DurationVar(&s.proxyFresh, prefix+"proxy-fresh", time.Minute, "How long a cached tag is believed without asking")
	f.DurationVar(&s.proxyKeep, prefix+"proxy-keep", 7*24*time.Hour, "How long cached content is kept that nobody pulls (0: for ever)")
	f.StringArrayVar(&s.quotas, prefix+"quota", nil, "Bytes a repository may hold: SIZE, or PATTERN=SIZE; the last that fits counts")
	f.StringVar(&s.maxManifest, prefix+"max-manifest", "4MiB", "Size of the largest manifest taken")
	f.DurationVar(&s.uploadExpiry, prefix+"upload-expiry", 24*time.Hour, "How long an upload is kept that nobody continues")
	f.DurationVar(&s.gcInterval, prefix+"gc-interval", 24*time.Hour, "How often garbage is collected (0: never by itself)")
	f.DurationVar(&s.gcGrace, prefix+"gc-grace", 24*time.Hour, "How long content is kept that nothing points to")
	f.BoolVar(&s.gcUntagged, prefix+"gc-untagged", false, "Take manifests that no tag leads to for garbage")
	f.BoolVar(&s.readOnly, prefix+"read-only", false, "Refuse pushes and deletions")
}

// check refuses what contradicts itself.
func (s *registrySettings) check() error {
	for _, step := range []func() error{
		func() error { _, err := s.quota(); return err },
		func() error { _, err := s.manifestLimit(); return err },
		func() error { _, _, err := s.upstream(); return err },
		s.checkListen,
	} {
		if err := step(); err != nil {
			return err
		}
	}
	switch {
	case (s.tlsCert == "") != (s.tlsKey == ""):
		return errors.New("a registry's certificate and its key go together: give tls-cert and tls-key")
	case s.anonymous && s.htpasswd == "" && s.rights == "" && s.proxy == "" && !s.readOnly:
		return errors.New("without accounts everybody may push and delete as well: give htpasswd or rights with anonymous, or read-only")
	case s.token && s.htpasswd == "":
		return errors.New("a token service needs accounts: give htpasswd with token")
	case s.token && s.tokenKey == "" && s.s3.Bucket != "":
		return errors.New("replicas on one bucket must sign tokens with the same key: give token-key with token")
	case s.tokenLife < time.Minute && s.token:
		return errors.New("clients take a token to be good for a minute at least: token-expiry cannot be less")
	case s.proxy == "" && (s.proxyUser != "" || s.proxyPasswordFile != ""):
		return errors.New("an account at a cached registry without one: give proxy")
	case (s.proxyUser == "") != (s.proxyPasswordFile == ""):
		return errors.New("proxy-username and proxy-password-file go together")
	case s.gcInterval < 0 || s.proxyFresh < 0 || s.proxyKeep < 0:
		return errors.New("a duration below zero")
	case s.gcGrace <= 0 || s.uploadExpiry <= 0:
		return errors.New("without a gc-grace and an upload-expiry, pushes would lose what they have just sent")
	}
	return nil
}

func (s *registrySettings) checkListen() error {
	for i, address := range s.listen {
		if strings.Contains(address, "://") {
			if !strings.HasPrefix(address, "fd://") {
				return fmt.Errorf("invalid address %q of the registry: want [HOST]:PORT or fd://", address)
			}
			continue
		}
		if !strings.Contains(address, ":") {
			address += ":5000"
			s.listen[i] = address
		}
		if _, _, err := net.SplitHostPort(address); err != nil {
			return fmt.Errorf("invalid address %q of the registry: %w", address, err)
		}
	}
	return nil
}

// limit is what a quota allows to the repositories of a pattern.
type limit struct {
	pattern string
	bytes   int64
}

func (s *registrySettings) quota() (repository.Quota, error) {
	var limits []limit
	for _, text := range s.quotas {
		pattern, size, ok := strings.Cut(text, "=")
		if !ok {
			pattern, size = "**", text
		}
		if err := access.CheckPattern(pattern); err != nil {
			return nil, fmt.Errorf("invalid quota %q: %w", text, err)
		}
		n, err := units.RAMInBytes(size)
		if err != nil || n < 0 {
			return nil, fmt.Errorf("invalid quota %q: want SIZE or PATTERN=SIZE", text)
		}
		limits = append(limits, limit{pattern, n})
	}
	if limits == nil {
		return nil, nil
	}
	return func(name string) (bytes int64) {
		for _, l := range limits {
			if access.Matches(l.pattern, name, "") {
				bytes = l.bytes
			}
		}
		return bytes
	}, nil
}

func (s *registrySettings) manifestLimit() (int64, error) {
	n, err := units.RAMInBytes(s.maxManifest)
	if err != nil || n <= 0 {
		return 0, fmt.Errorf("invalid max-manifest %q", s.maxManifest)
	}
	return n, nil
}

func (s *registrySettings) upstream() (u proxy.Upstream, plain bool, err error) {
	if s.proxy == "" {
		return u, false, nil
	}
	return proxy.ParseUpstream(s.proxy)
}

// credentials are those for the cached registry.
func (s *registrySettings) credentials() (remote.Credentials, error) {
	if s.proxyUser == "" {
		return remote.Credentials{}, nil
	}
	password, err := os.ReadFile(s.proxyPasswordFile)
	if err != nil {
		return remote.Credentials{}, fmt.Errorf("read password for %s: %w", s.proxy, err)
	}
	return remote.Credentials{Username: s.proxyUser, Password: strings.TrimRight(string(password), "\r\n")}, nil
}

func (s *registrySettings) accessConfig() access.Config {
	c := access.Config{
		Accounts: s.htpasswd, Rights: s.rights, Anonymous: s.anonymous, Tokens: s.token,
		Key: s.tokenKey, Realm: s.tokenRealm, Service: s.tokenService, Life: s.tokenLife,
	}
	if c.Key == "" {
		c.Key = filepath.Join(s.root, "token.key")
	}
	return c
}

// exposed is a warning for a registry that lets more people do more than its owner may have meant, "" for one that does not.
func (s *registrySettings) exposed(addresses []net.Addr) string {
	closed := s.htpasswd != "" || s.rights != ""
	open := !closed && s.proxy == "" && !s.readOnly
	for _, address := range addresses {
		tcp, ok := address.(*net.TCPAddr)
		switch {
		case !ok || tcp.IP.IsLoopback():
		case open:
			return "whoever reaches " + tcp.String() + " may push and delete: there are no accounts"
		case !closed && s.proxyUser != "":
			return "whoever reaches " + tcp.String() + " sees at " + s.proxy + " what " + s.proxyUser + " does: there are no accounts"
		case s.htpasswd != "" && s.tlsCert == "":
			return "passwords reach " + tcp.String() + " unencrypted, unless something before it speaks TLS"
		}
	}
	return ""
}
