package proxy

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
)

const (
	usesPrefix = "proxy/"
	usesPage   = 1000
)

// use writes down that a manifest is wanted; a note is renewed when a tenth of the time it is good for has passed.
func (p *Proxy) use(ctx context.Context, name string, d digest.Digest) {
	if p.config.Keep == 0 {
		return
	}
	key := usesPrefix + name + "+/" + d.String()
	p.mu.Lock()
	at, ok := p.touched[key]
	if ok && time.Since(at) < p.config.Keep/10 {
		p.mu.Unlock()
		return
	}
	if len(p.touched) >= maxRemembered {
		clear(p.touched)
	}
	p.touched[key] = time.Now()
	p.mu.Unlock()
	if err := p.parts.Storage.Put(ctx, key, strings.NewReader(""), 0); err != nil {
		p.mu.Lock()
		delete(p.touched, key)
		p.mu.Unlock()
		p.parts.Log.Warn("registry: use not noted", "manifest", key, "error", err)
	}
}

// Expire removes the manifests nobody has pulled for as long as they are kept, and tells how many. Their blobs are garbage
// from then on.
func (p *Proxy) Expire(ctx context.Context) (int, error) {
	if p.config.Keep == 0 {
		return 0, nil
	}
	expired, after := 0, ""
	for {
		page, err := p.parts.Storage.List(ctx, usesPrefix, after, usesPage)
		if err != nil {
			return expired, fmt.Errorf("list what was used: %w", err)
		}
		for _, o := range page {
			after = o.Key
			if time.Since(o.Modified) < p.config.Keep {
				continue
			}
			name, d, _ := strings.Cut(strings.TrimPrefix(o.Key, usesPrefix), "+/")
			if err := p.parts.Store.DeleteManifest(ctx, name, d); err != nil && !errdefs.IsNotFound(err) {
				return expired, fmt.Errorf("remove %s of %s: %w", d, name, err)
			}
			if err := p.parts.Storage.Delete(ctx, o.Key); err != nil {
				return expired, fmt.Errorf("remove note of use: %w", err)
			}
			expired++
		}
		if len(page) < usesPage {
			return expired, nil
		}
	}
}

// ExpireEvery removes what has expired again and again until ctx is done.
func (p *Proxy) ExpireEvery(ctx context.Context, pause time.Duration) {
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		n, err := p.Expire(ctx)
		if err != nil && ctx.Err() == nil {
			p.parts.Log.Error("registry: could not remove what expired", "error", err)
		}
		if n > 0 {
			p.parts.Log.Info("registry: removed what nobody pulled", "manifests", n)
		}
	}
}
