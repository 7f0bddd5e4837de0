package build

import (
	"context"
	"fmt"
	"os"
	"strconv"

	"github.com/containerd/errdefs"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/opencontainers/go-digest"

	"github.com/cove-containers/cove/build/step"
)

// CacheImport opens a cache from elsewhere.
type CacheImport func(ctx context.Context, env *step.Env, attrs map[string]string) (step.Finder, error)

// CacheExport takes the steps of a build elsewhere, and tells what that has become.
type CacheExport func(ctx context.Context, env *step.Env, attrs map[string]string, out *Outcome) (map[string]string, error)

// importCache makes a cache from elsewhere part of the build, once. One that cannot be opened is no error: it may not be
// there yet.
func (b *build) importCache(ctx context.Context, entry gateway.CacheOptionsEntry) error {
	open, ok := b.builder.parts.CacheImports[entry.Type]
	if !ok {
		return noCache(entry.Type)
	}
	id := fmt.Sprint(entry.Type, entry.Attrs) // maps are printed in the order of their keys
	b.mu.Lock()
	known := b.imports[id]
	b.imports[id] = true
	b.mu.Unlock()
	if known {
		return nil
	}
	name := entry.Attrs["ref"]
	if name == "" {
		name = entry.Type
	}
	var finder step.Finder
	err := b.task(ctx, "importing cache manifest from "+name, func(ctx context.Context, env *step.Env) (err error) {
		finder, err = open(ctx, env, entry.Attrs)
		return err
	})
	if err != nil {
		return ctx.Err()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	origin := originOf(entry)
	b.lease.Trust(origin)
	b.finders = append(b.finders, foreign{finder, origin})
	return nil
}

// mount finds what the first of the build's imports that has a cache mount of this ID has for it.
func (b *build) mount(id string, env *step.Env) func(ctx context.Context, dir *os.File) error {
	b.mu.Lock()
	finders := b.finders
	b.mu.Unlock()
	for _, f := range finders {
		if m, ok := f.Finder.(step.MountFinder); ok {
			if fill := m.Mount(id); fill != nil {
				return func(ctx context.Context, dir *os.File) error { return fill(ctx, env, dir) }
			}
		}
	}
	return nil
}

// originOf tells caches elsewhere apart. A folder of one name is another one at each client, so that its digest counts; and
// what came without protection on the way is not what others get with it.
func originOf(entry gateway.CacheOptionsEntry) string {
	origin := entry.Type
	for _, key := range []string{"ref", "src", "digest"} {
		if value := entry.Attrs[key]; value != "" {
			origin += " " + value
		}
	}
	if insecure, _ := strconv.ParseBool(entry.Attrs["registry.insecure"]); insecure {
		origin += " (insecure)"
	}
	return origin
}

func noCache(kind string) error {
	return fmt.Errorf("a cache of type %q is not supported: there are registry, local and inline: %w", kind, errdefs.ErrNotImplemented)
}

// checkCaches refuses kinds of caches that are not there, before anything is run.
func (b *Builder) checkCaches(req Request) error {
	for _, e := range req.CacheExports {
		if b.parts.CacheExports[e.Type] == nil {
			return noCache(e.Type)
		}
	}
	return nil
}

// cacheExports returns what exports caches once the outcome is where it belongs.
func (b *build) cacheExports(ctx context.Context, out *Outcome) func(*Response) error {
	var all []func(*Response) error
	for _, entry := range b.request.CacheExports {
		export := b.builder.parts.CacheExports[entry.Type]
		all = append(all, func(r *Response) error {
			var told map[string]string
			err := b.task(ctx, "exporting cache to "+entry.Type, func(ctx context.Context, env *step.Env) (err error) {
				told, err = export(ctx, env, entry.Attrs, out)
				return err
			})
			if err != nil && entry.Attrs["ignore-error"] == "true" && ctx.Err() == nil {
				return nil
			}
			for k, v := range told {
				r.Exporter[k] = v
			}
			return err
		})
	}
	return func(r *Response) error {
		for _, one := range all {
			if err := one(r); err != nil {
				return err
			}
		}
		return nil
	}
}

// done lists the steps that the build has looked at.
func (b *build) done(ctx context.Context) []step.Done {
	b.mu.Lock()
	list := make([]*vertex, 0, len(b.keys))
	keys := make(map[*node]digest.Digest, len(b.keys))
	for n, key := range b.keys {
		list, keys[n] = append(list, b.nodes[n]), key
	}
	b.mu.Unlock()
	out := make([]step.Done, 0, len(list))
	for _, v := range list {
		d := step.Done{Vertex: v.Vertex, Key: keys[v.node]}
		d.Names = func(ctx context.Context) (key, definition digest.Digest, err error) {
			names, err := b.job.Names(ctx, v.node)
			return digest.Digest(names.Key), digest.Digest(names.Definition), err
		}
		for _, in := range v.node.Inputs {
			d.Inputs = append(d.Inputs, keys[in.Node])
		}
		if e := v.meta.GetExportCache(); e != nil {
			wanted := e.Value
			d.Wanted = &wanted
		}
		if r, ok := b.lease.Lookup(d.Key); ok {
			d.Aliases, d.Refs, d.Notes = r.Aliases, refs(r), r.Notes
		}
		b.mu.Lock()
		d.Top = b.tops[v.node]
		b.mu.Unlock()
		out = append(out, d)
	}
	return out
}
