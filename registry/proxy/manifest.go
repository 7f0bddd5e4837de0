package proxy

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/cove-containers/cove/remote"
	"github.com/cove-containers/cove/repository"
)

// Manifest tells of a manifest that is kept and fresh.
func (p *Proxy) Manifest(ctx context.Context, name, reference string) (repository.Manifest, error) {
	d, err := p.obtain(ctx, name, reference)
	if err != nil {
		return repository.Manifest{}, err
	}
	p.use(ctx, name, d)
	return p.parts.Store.Manifest(ctx, name, d.String())
}

// ReadManifest returns the bytes of a manifest that Manifest told of.
func (p *Proxy) ReadManifest(ctx context.Context, name string, m repository.Manifest) ([]byte, error) {
	return p.parts.Store.ReadManifest(ctx, name, m)
}

// obtain fetches a manifest unless what is kept will do.
func (p *Proxy) obtain(ctx context.Context, name, reference string) (digest.Digest, error) {
	kept, err := p.parts.Store.Manifest(ctx, name, reference)
	have := err == nil
	if err != nil && !errdefs.IsNotFound(err) {
		return "", err
	}
	key := name + " " + reference
	if have && (strings.Contains(reference, ":") || p.fresh(key) || p.down()) {
		return kept.Digest, nil
	}
	type result struct {
		digest digest.Digest
		err    error
	}
	// One asks for all who wait, so whoever goes away ends nothing.
	answer := make(chan result, 1)
	p.tasks.Go(func() {
		got, _, _ := p.asking.Do(key, func() (any, error) {
			d, err := p.fetch(name, reference, kept, have)
			if p.judge(err) && have {
				return result{kept.Digest, nil}, nil
			}
			if err != nil {
				err = p.refused(err, repository.ManifestUnknown)
			}
			return result{d, err}, nil
		})
		answer <- got.(result)
	})
	select {
	case a := <-answer:
		return a.digest, a.err
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}

// errKeep marks what is wrong here and not with the upstream.
var errKeep = errors.New("what the upstream sent cannot be kept")

// fetch brings a manifest from the upstream, unless it is the one that is kept.
func (p *Proxy) fetch(name, reference string, kept repository.Manifest, have bool) (digest.Digest, error) {
	limit := patience
	if have {
		limit = impatience
	}
	ctx, cancel := context.WithTimeout(p.life, limit)
	defer cancel()
	at := p.config.Upstream.name(name)
	push := repository.Push{Sparse: true}
	if strings.Contains(reference, ":") {
		at.Digest = digest.Digest(reference)
	} else {
		at.Tag, push.Tags = reference, []string{reference}
	}
	if have {
		found, err := p.parts.Remote.StatManifest(ctx, at, p.session)
		if err == nil && found.Digest == kept.Digest {
			p.confirm(name + " " + reference)
			return kept.Digest, nil
		}
		if errdefs.IsNotFound(err) {
			return "", errors.Join(err, ignoreAbsent(p.parts.Store.DeleteManifest(ctx, name, reference)))
		}
		// Some registries answer only GET.
		var refused *remote.Error
		if err != nil && !(errors.As(err, &refused) && refused.Status == http.StatusMethodNotAllowed) {
			return "", err
		}
	}
	desc, body, err := p.parts.Remote.Manifest(ctx, at, p.session)
	if err != nil {
		return "", err
	}
	push.MediaType, push.Digest, push.Body = desc.MediaType, desc.Digest, body
	if _, err := p.parts.Store.PutManifest(ctx, name, push); err != nil {
		return "", fmt.Errorf("%w: manifest %s of %s: %w", errKeep, desc.Digest, name, err)
	}
	p.confirm(name + " " + reference)
	return desc.Digest, nil
}

func ignoreAbsent(err error) error {
	if errdefs.IsNotFound(err) {
		return nil
	}
	return err
}

// maxRemembered bounds what is remembered of tags and uses; forgetting costs a question each.
const maxRemembered = 1 << 16

// confirm notes that a tag is as the upstream has it now.
func (p *Proxy) confirm(key string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.checked) >= maxRemembered {
		clear(p.checked)
	}
	p.checked[key] = time.Now()
}

func (p *Proxy) fresh(key string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	at, ok := p.checked[key]
	return ok && time.Since(at) < p.config.Fresh
}
