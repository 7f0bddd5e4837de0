// Package share carries the build cache from one builder to another: inside of an image, in a registry, in a folder of the
// client's. It has the form of BuildKit's caches (application/vnd.buildkit.cacheconfig.v0), in which keys are Cove's own: what
// BuildKit finds there it knows no use for, and the other way round, and neither is hurt.
//
// A cache from elsewhere is believed in nothing but what its keys mean: every blob is verified against its digest, every layer
// against its diff ID, before it counts; what is not as it says is as good as not there.
package share

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cove-containers/cove/blob"
	"github.com/cove-containers/cove/build/result"
	"github.com/cove-containers/cove/build/step"
	"github.com/cove-containers/cove/cache"
	"github.com/cove-containers/cove/image"
	"github.com/cove-containers/cove/remote"
)

// Kinds of caches elsewhere, as BuildKit's clients name them.
const (
	Registry = "registry"
	Local    = "local"
	Inline   = "inline"
)

// Parts are what a Sharer works with.
type Parts struct {
	Exporters *result.Exporters
	Images    *image.Store
	Blobs     *blob.Store
	Remote    *remote.Client
	// Mounts keeps the folders of cache mounts; nil: they are not shared.
	Mounts *cache.Mounts
}

// Sharer shares the cache. It is safe for concurrent use.
type Sharer struct{ Parts }

// New makes a Sharer of its parts.
func New(parts Parts) *Sharer { return &Sharer{parts} }

// origin is where a cache lies.
type origin interface {
	image.Origin
	// root is the document that describes the cache.
	root(ctx context.Context) (ocispec.Descriptor, []byte, error)
}

// Import opens the cache that attrs name. Its content is fetched when somebody wants it.
func (s *Sharer) Import(ctx context.Context, env *step.Env, kind string, attrs map[string]string) (step.Finder, error) {
	from, err := s.origin(ctx, env, kind, attrs)
	if err != nil {
		return nil, err
	}
	f := &finder{of: s, from: from, name: describe(kind, attrs), entries: map[digest.Digest]*entry{}, mounts: map[string]ocispec.Descriptor{}}
	if err := f.read(ctx); err != nil {
		inside := s.instead(ctx, kind, attrs)
		if inside == nil {
			return nil, fmt.Errorf("import cache from %s: %w", f.name, err)
		}
		inside.name, f = f.name, inside
	}
	if !isTrue(attrs["mounts"]) || s.Mounts == nil {
		f.mounts = nil
	}
	return f, nil
}

// instead is what an image here has of a cache that the registry does not give.
func (s *Sharer) instead(ctx context.Context, kind string, attrs map[string]string) *finder {
	if kind != Registry && kind != Inline {
		return nil
	}
	name, err := cacheName(attrs)
	if err != nil {
		return nil
	}
	return s.here(ctx, name)
}

func (s *Sharer) origin(ctx context.Context, env *step.Env, kind string, attrs map[string]string) (origin, error) {
	switch kind {
	case Registry, Inline:
		return s.registry(ctx, env, attrs)
	case Local:
		return folder(ctx, env, attrs)
	}
	return nil, unknown(kind)
}

func unknown(kind string) error {
	return fmt.Errorf("a cache of type %q is not supported: there are registry, local and inline: %w", kind, errdefs.ErrNotImplemented)
}

func describe(kind string, attrs map[string]string) string {
	for _, key := range []string{"ref", "src", "dest"} {
		if attrs[key] != "" {
			return kind + " " + attrs[key]
		}
	}
	return kind
}

func isTrue(text string) bool { return text == "true" || text == "1" }

func invalid(format string, args ...any) error {
	return errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf(format, args...))
}

func (s *Sharer) sweep(ctx context.Context) {
	if _, err := s.Images.Sweep(context.WithoutCancel(ctx)); err != nil && !errdefs.IsUnavailable(err) {
		slog.Warn("what a cache export has left was not swept", "error", err)
	}
}
