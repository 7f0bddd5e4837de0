package config

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Context is a daemon by name.
type Context struct {
	Metadata
	Host          string
	SkipTLSVerify bool
	meta, tls     string // folders of its description and its certificates
}

// Context reads the context called name.
func (f *File) Context(name string) (Context, error) {
	return f.context(hashOf(name), name)
}

// hashOf gives the name of a context's folders.
func hashOf(name string) string {
	sum := sha256.Sum256([]byte(name))
	return hex.EncodeToString(sum[:])
}

func (f *File) context(hash, name string) (Context, error) {
	path := filepath.Join(f.Dir, "contexts", "meta", hash, "meta.json")
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Context{}, fmt.Errorf("context %q: context not found: %w", name, err)
	}
	var m Metadata
	var e Endpoint
	if err == nil {
		err = json.Unmarshal(raw, &m)
	}
	if err == nil {
		e, err = m.Daemon()
	}
	if err != nil {
		return Context{}, fmt.Errorf("context %q: parsing %s: %w", name, path, err)
	}
	return Context{
		Metadata: m, Host: e.Host, SkipTLSVerify: e.SkipTLSVerify,
		meta: filepath.Join(f.Dir, "contexts", "meta", hash), tls: filepath.Join(f.Dir, "contexts", "tls", hash, Daemon),
	}, nil
}

// Contexts lists the contexts by name.
func (f *File) Contexts() ([]Context, error) {
	entries, err := os.ReadDir(filepath.Join(f.Dir, "contexts", "meta"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var all []Context
	for _, e := range entries {
		c, err := f.context(e.Name(), e.Name())
		if err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b Context) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

// TLS gives the context's TLS settings, nil when it has none.
func (c Context) TLS() (*tls.Config, error) {
	if _, err := os.Stat(c.tls); err != nil {
		if c.SkipTLSVerify {
			return TLSFiles{}.Config()
		}
		return nil, nil
	}
	return TLSFiles{
		CA: existing(c.tls, "ca.pem"), Cert: existing(c.tls, "cert.pem"), Key: existing(c.tls, "key.pem"), Verify: !c.SkipTLSVerify,
	}.Config()
}

// TLSMaterial lists the files of certificates by endpoint.
func (c Context) TLSMaterial() map[string][]string {
	material := map[string][]string{}
	for _, name := range []string{"ca.pem", "cert.pem", "key.pem"} {
		if c.tls != "" && existing(c.tls, name) != "" {
			material[Daemon] = append(material[Daemon], name)
		}
	}
	return material
}

// Storage gives the folders a context is kept in; one that is not kept at all is in memory.
func (c Context) Storage() (metadata, certificates string) {
	if c.meta == "" {
		return "<IN MEMORY>", "<IN MEMORY>"
	}
	return c.meta, filepath.Dir(c.tls)
}

func existing(dir, name string) string {
	path := filepath.Join(dir, name)
	if _, err := os.Stat(path); err != nil {
		return ""
	}
	return path
}

// TLSFiles name the files of a TLS client; empty ones are not used.
type TLSFiles struct {
	CA, Cert, Key string
	Verify        bool // refuse daemons that CA, or the system, does not vouch for
}

// Config reads the files.
func (t TLSFiles) Config() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: !t.Verify}
	if t.Verify && t.CA != "" {
		pem, err := os.ReadFile(t.CA)
		if err != nil {
			return nil, err
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("failed to append certificates from PEM file: %q", t.CA)
		}
	}
	if t.Cert != "" && t.Key != "" {
		pair, err := tls.LoadX509KeyPair(t.Cert, t.Key)
		if err != nil {
			return nil, fmt.Errorf("could not load X509 key pair: %w. Make sure the key is not encrypted", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}
