package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/cove-containers/cove/registry"
	"github.com/cove-containers/cove/registry/access"
	"github.com/cove-containers/cove/registry/proxy"
	"github.com/cove-containers/cove/release"
	"github.com/cove-containers/cove/remote"
	"github.com/cove-containers/cove/repository"
	"github.com/cove-containers/cove/server/listen"
)

// distribution is a registry that is open: what serves it and what goes on beside.
type distribution struct {
	store     *repository.Store
	listeners []net.Listener
	handler   http.Handler
	log       *slog.Logger
	chores    []func(ctx context.Context)
	end       []func()
}

func (d *distribution) close() {
	for i := len(d.end) - 1; i >= 0; i-- {
		d.end[i]()
	}
}

// idle is longer than clients keep a connection for their next request, so that none of them meets its end.
const idle = 5 * time.Minute

// serve answers until ctx is done.
func (d *distribution) serve(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	var chores sync.WaitGroup
	for _, chore := range d.chores {
		chores.Go(func() { chore(ctx) })
	}
	err := listen.Service{Handler: d.handler, Log: d.log, Grace: grace, Idle: idle}.Serve(ctx, d.listeners)
	stop()
	chores.Wait()
	return err
}

// openRegistry opens a registry on a storage, floor by floor, and listens.
func openRegistry(ctx context.Context, s *registrySettings, storage repository.Storage, log *slog.Logger) (_ *distribution, err error) {
	d := &distribution{log: log}
	defer func() {
		if err != nil {
			d.close()
		}
	}()
	// Each of these was checked when the settings were read.
	quota, _ := s.quota()
	maxManifest, _ := s.manifestLimit()
	store, err := repository.Open(ctx, storage, repository.Config{
		MaxManifest: maxManifest, UploadExpiry: s.uploadExpiry, Grace: s.gcGrace, Quota: quota, Cache: s.proxy != "",
	})
	if err != nil {
		return nil, err
	}
	d.store = store
	who := s.accessConfig()
	who.Log = log
	guard, err := access.New(who)
	if err != nil {
		return nil, fmt.Errorf("access to the registry: %w", err)
	}
	parts := registry.Parts{Store: store, Access: guard, ReadOnly: s.readOnly, Log: log}
	if s.proxy != "" {
		cache, err := d.openProxy(s, store, storage)
		if err != nil {
			return nil, err
		}
		parts.Content, parts.ReadOnly = cache, true
	}
	door := registry.New(parts)
	if s.gcInterval > 0 {
		d.chores = append(d.chores, func(ctx context.Context) {
			door.CollectEvery(ctx, s.gcInterval, repository.Collection{Untagged: s.gcUntagged})
		})
	}
	d.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if guard.Serves(r) {
			guard.Token(w, r)
			return
		}
		door.ServeHTTP(w, r)
	})
	return d, d.listen(s)
}

func (d *distribution) openProxy(s *registrySettings, store *repository.Store, storage repository.Storage) (*proxy.Proxy, error) {
	upstream, plain, _ := s.upstream() // was checked
	config := remote.Config{UserAgent: "cove/" + release.Version, CertsDirs: s.certsDirs}
	if plain {
		config.Insecure = []string{upstream.Host}
	}
	client, err := remote.New(config)
	if err != nil {
		return nil, err
	}
	d.end = append(d.end, client.Close)
	credentials, err := s.credentials()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(s.spool, 0o700); err != nil {
		return nil, fmt.Errorf("folder for downloads: %w", err)
	}
	cache := proxy.New(
		proxy.Config{Upstream: upstream, Credentials: credentials, Fresh: s.proxyFresh, Keep: s.proxyKeep, Spool: s.spool},
		proxy.Parts{Store: store, Storage: storage, Remote: client, Log: d.log})
	d.end = append(d.end, cache.Close)
	if s.proxyKeep > 0 {
		d.chores = append(d.chores, func(ctx context.Context) { cache.ExpireEvery(ctx, min(s.proxyKeep, time.Hour)) })
	}
	return cache, nil
}

func (d *distribution) listen(s *registrySettings) error {
	d.end = append(d.end, func() {
		for _, l := range d.listeners {
			l.Close()
		}
	})
	var secure *tls.Config
	if s.tlsCert != "" {
		c := &certificate{cert: s.tlsCert, key: s.tlsKey, log: d.log}
		if _, err := c.current(nil); err != nil {
			return err
		}
		// HTTP/1.1 only: layers come over several connections, which one shared by all would not make faster.
		secure = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: c.current, NextProtos: []string{"http/1.1"}}
	}
	var addresses []net.Addr
	for _, address := range s.listen {
		var open []net.Listener
		var err error
		if strings.HasPrefix(address, "fd://") {
			open, err = listen.Open(listen.Config{Hosts: []string{address}})
		} else {
			var l net.Listener
			l, err = net.Listen("tcp", address)
			open = []net.Listener{l}
		}
		if err != nil {
			return fmt.Errorf("listen as a registry on %s: %w", address, err)
		}
		for _, l := range open {
			d.log.Info("registry listen", "address", l.Addr().String(), "tls", secure != nil)
			addresses = append(addresses, l.Addr())
			if secure != nil {
				l = tls.NewListener(l, secure)
			}
			d.listeners = append(d.listeners, l)
		}
	}
	if warning := s.exposed(addresses); warning != "" {
		d.log.Warn("registry: " + warning)
	}
	return nil
}

// certificate is a pair of files that is read again when it changes. While it cannot be read, the last good one stays.
type certificate struct {
	cert, key string
	log       *slog.Logger
	mu        sync.Mutex
	seen      string
	value     *tls.Certificate
}

func (c *certificate) current(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	seen := stamp(c.cert) + stamp(c.key)
	if seen == c.seen {
		return c.value, nil
	}
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	switch {
	case err == nil:
		c.value = &pair
	case c.value == nil:
		return nil, fmt.Errorf("certificate of the registry: %w", err)
	default:
		c.log.Error("registry: the new certificate cannot be used, the old one stays", "error", err)
	}
	c.seen = seen
	return c.value, nil
}

// stamp is a text that changes when a file does.
func stamp(path string) string {
	info, err := os.Stat(path)
	if err != nil {
		return "none;"
	}
	return fmt.Sprintf("%d %d;", info.Size(), info.ModTime().UnixNano())
}

// registryFolder is where the daemon's own registry keeps its things.
func registryFolder(dataRoot string) string { return filepath.Join(dataRoot, "registry") }

// together runs several servers until one ends, then ends the others, and gives the first error.
func together(ctx context.Context, servers ...func(context.Context) error) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	ends := make(chan error, len(servers))
	for _, serve := range servers {
		go func() { ends <- serve(ctx) }()
	}
	var all []error
	for range servers {
		all = append(all, <-ends)
		stop()
	}
	return errors.Join(all...)
}
