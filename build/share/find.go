package share

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"

	cacheconfig "github.com/moby/buildkit/cache/remotecache/v1/types"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cove-containers/cove/build/result"
	"github.com/cove-containers/cove/build/step"
	"github.com/cove-containers/cove/image"
	"github.com/cove-containers/cove/layer"
	"github.com/cove-containers/cove/oci"
	"github.com/cove-containers/cove/ref"
)

// maxImages is how many entries of an index are looked into for what they carry of a cache.
const maxImages = 32

// finder is a cache elsewhere.
type finder struct {
	of      *Sharer
	from    origin
	name    string
	entries map[digest.Digest]*entry
	mounts  map[string]ocispec.Descriptor // contents of cache mounts by their IDs
}

// Find implements step.Finder.
func (f *finder) Find(key digest.Digest) (step.Found, bool) {
	e, ok := f.entries[key]
	if !ok {
		return step.Found{}, false
	}
	return step.Found{Key: e.key, Load: func(ctx context.Context, env *step.Env) (step.Outcome, error) { return f.load(ctx, env, e) }}, true
}

// load fetches and unpacks what a step made. All of it is verified on the way.
func (f *finder) load(ctx context.Context, env *step.Env, e *entry) (step.Outcome, error) {
	out := step.Outcome{}
	hold := f.of.Images.Lease()
	defer hold.Release()
	began := beginnings{at: map[digest.Digest]time.Time{}}
	for _, chain := range e.chains {
		img := image.Image{}
		var pile layer.Pile
		for _, l := range chain {
			hold.Add(l.Desc.Digest, l.DiffID)
			env.Lease.Hold(l.DiffID.String())
			img.Layers, img.DiffIDs = append(img.Layers, l.Desc), append(img.DiffIDs, l.DiffID)
			pile = append(pile, l.DiffID.String())
		}
		if len(chain) > 0 {
			err := f.of.Images.Bring(ctx, &img, ref.Name{}, image.PullOptions{Origin: f.from}, func(c image.Coming) { began.tell(env, c) })
			if err != nil {
				return out, fmt.Errorf("cache from %s: %w", f.name, err)
			}
		}
		out.Refs = append(out.Refs, step.Ref{Pile: pile})
	}
	return out, nil
}

// beginnings are when layers began to come. Several come at once.
type beginnings struct {
	mu sync.Mutex
	at map[digest.Digest]time.Time
}

// of is when a layer began to come: now, where it was not asked for before.
func (b *beginnings) of(layer digest.Digest) time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	at, known := b.at[layer]
	if !known {
		at = time.Now()
		b.at[layer] = at
	}
	return at
}

func (b *beginnings) tell(env *step.Env, c image.Coming) {
	if env.Progress == nil {
		return
	}
	at := b.of(c.Layer.Digest)
	s := step.Status{ID: c.Layer.Digest.String(), Started: &at, Current: c.Current, Total: c.Total}
	if c.Extracting {
		s.ID = "extracting " + s.ID
	}
	if c.Done {
		now := time.Now()
		s.Completed = &now
	}
	env.Progress(s)
}

// read reads what the cache has.
func (f *finder) read(ctx context.Context) error {
	desc, body, err := f.from.root(ctx)
	if err != nil {
		return err
	}
	doc, err := oci.Parse(desc.MediaType, body)
	if err != nil {
		return err
	}
	config, layers := ocispec.Descriptor{}, map[digest.Digest]ocispec.Descriptor{}
	for _, d := range doc.Children() {
		switch {
		case d.MediaType == cacheconfig.CacheConfigMediaTypeV0:
			config = d
		case d.Annotations[mountNote] != "":
			f.mounts[d.Annotations[mountNote]] = d
		default:
			layers[d.Digest] = d
		}
	}
	if config.Digest == "" {
		return f.readInline(ctx, doc)
	}
	if body, err = f.fetch(ctx, config); err != nil {
		return err
	}
	f.entries, err = decode(body, layers, nil)
	return err
}

// readInline reads what an image, or each image of an index, carries of a cache.
func (f *finder) readInline(ctx context.Context, doc oci.Document) error {
	if doc.Manifest != nil {
		return f.readImage(ctx, doc.Manifest)
	}
	for i, d := range doc.Index.Manifests {
		if i >= maxImages || oci.IsAttestation(d) || !oci.IsManifest(d.MediaType) {
			continue
		}
		body, err := f.fetch(ctx, d)
		if err != nil {
			return err
		}
		child, err := oci.Parse(d.MediaType, body)
		if err != nil || child.Manifest == nil {
			continue
		}
		if err := f.readImage(ctx, child.Manifest); err != nil {
			return err
		}
	}
	return nil
}

func (f *finder) readImage(ctx context.Context, m *ocispec.Manifest) error {
	body, err := f.fetch(ctx, m.Config)
	if err != nil {
		return err
	}
	var config struct {
		RootFS ocispec.RootFS `json:"rootfs"`
		Cache  []byte         `json:"moby.buildkit.cache.v0"`
	}
	if err := json.Unmarshal(body, &config); err != nil {
		return invalid("the image's config cannot be read: %v", err)
	}
	if len(config.Cache) == 0 || len(config.RootFS.DiffIDs) != len(m.Layers) {
		return nil
	}
	layers := []result.Layer{}
	for i, d := range m.Layers {
		if err := oci.CheckDigest(config.RootFS.DiffIDs[i]); err != nil {
			return err
		}
		layers = append(layers, result.Layer{DiffID: config.RootFS.DiffIDs[i], Desc: ocispec.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size}})
	}
	found, err := decode(config.Cache, nil, layers)
	for key, e := range found {
		f.entries[key] = e
	}
	return err
}

// fetch reads a small blob, and verifies it.
func (f *finder) fetch(ctx context.Context, d ocispec.Descriptor) ([]byte, error) {
	if d.Size > oci.MaxConfig || d.Size < 0 {
		return nil, invalid("%s of %d bytes is larger than %d", d.Digest, d.Size, oci.MaxConfig)
	}
	if oci.IsDocument(d.MediaType) {
		got, body, err := f.from.Manifest(ctx, ref.Name{Digest: d.Digest})
		if err == nil && got.Digest != d.Digest {
			err = invalid("%s was given for %s", got.Digest, d.Digest)
		}
		return body, err
	}
	r, at, err := f.from.Blob(ctx, d, 0)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	body, err := io.ReadAll(io.LimitReader(r, d.Size+1))
	if err != nil {
		return nil, err
	}
	if at != 0 || digest.FromBytes(body) != d.Digest {
		return nil, invalid("what was given for %s is something else", d.Digest)
	}
	return body, nil
}
