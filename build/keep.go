package build

import (
	"context"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/cove-containers/cove/build/solve"
	"github.com/cove-containers/cove/build/step"
	"github.com/cove-containers/cove/cache"
)

// keeper is the cache as the solver sees it: what is here, and what a build may take from elsewhere.
type keeper struct{ builder *Builder }

// Known implements solve.Cache.
func (k keeper) Known(m *watcher, key string) (string, bool) {
	if r, ok := m.build.lookup(digest.Digest(key)); ok {
		return r.Key.String(), true
	}
	if found, ok := m.build.abroad(digest.Digest(key)); ok {
		m.build.believe(digest.Digest(key), found)
		return found.Key.String(), true
	}
	return key, false
}

// Find implements solve.Cache. What an import has promised and does not give is as good as not there.
func (k keeper) Find(ctx context.Context, m *watcher, key string) (solve.Outcome[step.Ref], bool) {
	if r, ok := m.build.lookup(digest.Digest(key)); ok {
		return solve.Outcome[step.Ref]{Out: refs(r), Key: key}, true
	}
	found, ok := m.build.abroad(digest.Digest(key))
	if !ok {
		return solve.Outcome[step.Ref]{}, false
	}
	out, err := found.Load(ctx, m.build.env(m.vertex))
	if err != nil {
		if ctx.Err() == nil {
			m.build.warn(m.vertex, "cache import failed, the step is run: "+err.Error(), "", nil)
		}
		m.build.forgo(digest.Digest(key))
		return solve.Outcome[step.Ref]{}, false
	}
	for i := range out.Refs {
		out.Refs[i].Origins = []string{found.origin}
	}
	m.build.lease.Save(digest.Digest(key), record(out, own(out.Refs, nil), m.vertex.Name))
	return solve.Outcome[step.Ref]{Out: out.Refs, Key: key}, true
}

// refs are the outputs that a record stands for.
func refs(r cache.Record) []step.Ref {
	out := make([]step.Ref, len(r.Piles))
	for i, p := range r.Piles {
		out[i] = step.Ref{Pile: p, Origins: r.Origins}
	}
	return out
}

func record(out step.Outcome, own []string, name string) cache.Record {
	r := cache.Record{Kind: out.Kind, Description: out.Description, Notes: out.Notes, Own: own, Origins: origins(out.Refs)}
	if r.Description == "" {
		r.Description = name
	}
	for _, ref := range out.Refs {
		r.Piles = append(r.Piles, ref.Pile)
	}
	return r
}

// Keep implements solve.Cache.
func (k keeper) Keep(_ *crowd, key string, out solve.Outcome[step.Ref]) error {
	m, ok := out.More.(*made)
	if !ok || m.Unkept {
		return nil
	}
	if origin := m.build.believes(digest.Digest(key)); origin != "" {
		for i, ref := range m.Refs {
			m.Refs[i].Origins = append(slices.Clip(ref.Origins), origin)
		}
	}
	m.lease.Save(digest.Digest(key), record(m.Outcome, m.own, m.name))
	return nil
}

// Take implements solve.Cache.
func (k keeper) Take(m *watcher, out solve.Outcome[step.Ref]) {
	for _, ref := range out.Out {
		m.build.lease.Hold(ref.Pile...)
	}
}

// Alias implements solve.Cache. What only an import says of a key is not told to others.
func (k keeper) Alias(m *watcher, from, to string) {
	if m.build.believes(digest.Digest(to)) != "" {
		return
	}
	m.build.lease.Alias(digest.Digest(from), digest.Digest(to))
}

// foreign is a cache from elsewhere, and the name that what comes from it is marked by.
type foreign struct {
	step.Finder
	origin string
}

// promise is what such a cache has.
type promise struct {
	step.Found
	origin string
}

// abroad looks for a key in what the build imports.
func (b *build) abroad(key digest.Digest) (promise, bool) {
	b.mu.Lock()
	finders, gone := b.finders, b.forgone[key]
	b.mu.Unlock()
	if gone {
		return promise{}, false
	}
	for _, f := range finders {
		if found, ok := f.Find(key); ok {
			return promise{found, f.origin}, true
		}
	}
	return promise{}, false
}

// lookup looks for a key in what is here.
func (b *build) lookup(key digest.Digest) (cache.Record, bool) {
	r, ok := b.lease.Lookup(key)
	if ok && len(r.Origins) > 0 {
		b.mu.Lock()
		b.credulous = true
		b.mu.Unlock()
	}
	return r, ok
}

// believe notes that the build goes by what an import has said of a key. Where it has given another one for it, what the
// build makes under that is for those alone who believe it, too.
func (b *build) believe(key digest.Digest, p promise) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.credulous = true
	if p.Key != key {
		b.hearsay[p.Key] = p.origin
	}
}

// Company implements solve.Watch. Builds that have taken something from elsewhere run their steps with those alone who
// ask for the same.
func (b *build) Company() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.credulous {
		return ""
	}
	var all []string
	for _, f := range b.finders {
		all = append(all, f.origin)
	}
	slices.Sort(all)
	return strings.Join(all, "\n")
}

// believes tells which import a key is known from; none when the build has found it out itself.
func (b *build) believes(key digest.Digest) (origin string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.hearsay[key]
}

// forgo does not ask for a key abroad again.
func (b *build) forgo(key digest.Digest) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.forgone[key] = true
}
