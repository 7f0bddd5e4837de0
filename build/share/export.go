package share

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"

	cacheconfig "github.com/moby/buildkit/cache/remotecache/v1/types"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cove-containers/cove/build/result"
	"github.com/cove-containers/cove/build/step"
	"github.com/cove-containers/cove/image"
	"github.com/cove-containers/cove/layer"
	"github.com/cove-containers/cove/oci"
)

// manifestKey is where clients look for what an exported cache has become.
const manifestKey = "cache.manifest"

// settings are what the attributes of an export say.
type settings struct {
	all           bool // and not only what the result consists of
	ociNames      bool
	imageManifest bool
	mounts        bool
}

func readSettings(attrs map[string]string) (settings, error) {
	s := settings{ociNames: true, imageManifest: true}
	switch mode := attrs["mode"]; mode {
	case "", "min":
	case "max":
		s.all = true
	default:
		return s, invalid("invalid mode %q of a cache export: it is min or max", mode)
	}
	for key, target := range map[string]*bool{"oci-mediatypes": &s.ociNames, "image-manifest": &s.imageManifest, "mounts": &s.mounts} {
		value, given := attrs[key]
		if !given {
			continue
		}
		on, err := strconv.ParseBool(value)
		if err != nil {
			return s, invalid("failed to parse %s: %q", key, value)
		}
		*target = on
	}
	if !s.ociNames {
		if attrs["image-manifest"] != "" && s.imageManifest {
			return s, invalid("invalid configuration for remote cache, OCI mediatypes are required for image-manifest cache format")
		}
		s.imageManifest = false
	}
	return s, nil
}

// Check tells whether a cache can be exported as attrs ask for, before anything is built.
func (s *Sharer) Check(kind string, attrs map[string]string) error {
	switch kind {
	case Inline:
		return nil
	case Registry:
		if _, err := cacheName(attrs); err != nil {
			return err
		}
	case Local:
		if attrs["dest"] == "" {
			return invalid("local cache exporter requires dest")
		}
	default:
		return unknown(kind)
	}
	if _, err := s.Exporters.Packing(attrs); err != nil {
		return err
	}
	_, err := readSettings(attrs)
	return err
}

// Export brings what the steps of a build have made to where attrs say, and tells what it has become there. Of what goes inside of an image
// the image's exporter takes care: see Inside.
func (s *Sharer) Export(ctx context.Context, env *step.Env, kind string, attrs map[string]string, steps []step.Done) (map[string]string, error) {
	if err := s.Check(kind, attrs); err != nil || kind == Inline {
		return nil, err
	}
	set, err := readSettings(attrs)
	if err != nil {
		return nil, err
	}
	packing, err := s.Exporters.Packing(attrs)
	if err != nil {
		return nil, err
	}
	hold := s.Images.Lease()
	defer func() {
		hold.Release()
		s.sweep(ctx)
	}()
	end := env.Part("preparing build cache for export")
	entries, err := s.entries(ctx, env, hold, packing, wanted(steps, set.all))
	if err != nil {
		return nil, err
	}
	var folders []ocispec.Descriptor
	if set.mounts {
		if folders, err = s.packMounts(ctx, env, hold, steps); err != nil {
			return nil, err
		}
	}
	end()
	if len(entries) == 0 && len(folders) == 0 {
		env.Part("skipping cache export for empty result")()
		return nil, nil
	}
	c, err := s.describe(hold, set, entries, folders)
	if err != nil {
		return nil, err
	}
	if kind == Local {
		err = s.toFolder(ctx, env, attrs, c)
	} else {
		err = s.toRegistry(ctx, env, attrs, c)
	}
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(c.root)
	return map[string]string{manifestKey: string(body)}, err
}

// wanted picks the steps whose outcomes are exported: all that have any, or only those that the results are stacked on.
func wanted(steps []step.Done, all bool) []step.Done {
	var tops []layer.Pile
	for _, d := range steps {
		if d.Top {
			for _, r := range d.Refs {
				tops = append(tops, r.Pile)
			}
		}
	}
	part := func(d step.Done) bool {
		return slices.ContainsFunc(d.Refs, func(r step.Ref) bool {
			return slices.ContainsFunc(tops, func(top layer.Pile) bool {
				return len(r.Pile) > 0 && len(r.Pile) <= len(top) && slices.Equal(r.Pile, top[:len(r.Pile)])
			})
		})
	}
	var out []step.Done
	for _, d := range steps {
		switch {
		case len(d.Refs) == 0, d.Op.GetSource() != nil, d.Wanted != nil && !*d.Wanted:
		case all, d.Wanted != nil, d.Top, part(d):
			out = append(out, d)
		}
	}
	return out
}

// entries packs what the steps have made.
func (s *Sharer) entries(ctx context.Context, env *step.Env, hold *image.Lease, packing *result.Packing, steps []step.Done) ([]*entry, error) {
	var out []*entry
	for _, d := range steps {
		e := &entry{key: d.Key, aliases: slices.Clone(d.Aliases)}
		// After --no-cache the key is one that nobody else can come by, and so are those of stages that are not exported.
		key, definition, err := d.Names(ctx)
		if err != nil {
			return nil, err
		}
		e.alias(key, definition)
		for _, r := range d.Refs {
			chain, err := packing.Pack(ctx, env, hold, r.Pile)
			if err != nil {
				return nil, fmt.Errorf("export cache of %q: %w", d.Name, err)
			}
			e.chains = append(e.chains, chain)
		}
		out = append(out, e)
	}
	return out, nil
}

// describe writes the documents of a cache.
func (s *Sharer) describe(hold *image.Lease, set settings, entries []*entry, folders []ocispec.Descriptor) (cargo, error) {
	var c cargo
	body, err := encode(entries, nil)
	if err != nil {
		return c, err
	}
	config, err := s.put(hold, body, cacheconfig.CacheConfigMediaTypeV0)
	if err != nil {
		return c, err
	}
	known := map[digest.Digest]bool{}
	for _, e := range entries {
		for _, chain := range e.chains {
			for _, l := range chain {
				if !known[l.Desc.Digest] {
					d := l.Desc
					d.Annotations = map[string]string{"containerd.io/uncompressed": l.DiffID.String()}
					c.list = append(c.list, d)
				}
				known[l.Desc.Digest] = true
			}
		}
	}
	slices.SortFunc(c.list, func(a, b ocispec.Descriptor) int { return cmp.Compare(a.Digest, b.Digest) })
	c.list = append(c.list, folders...)
	version := specs.Versioned{SchemaVersion: 2}
	var document any = ocispec.Manifest{Versioned: version, MediaType: ocispec.MediaTypeImageManifest, Config: config, Layers: c.list}
	kind := ocispec.MediaTypeImageManifest
	if !set.imageManifest {
		if kind = ocispec.MediaTypeImageIndex; !set.ociNames {
			kind = oci.DockerManifestList
		}
		document = ocispec.Index{Versioned: version, MediaType: kind, Manifests: append(slices.Clone(c.list), config)}
	}
	if body, err = json.Marshal(document); err != nil {
		return c, err
	}
	c.list = append(c.list, config)
	c.root, err = s.put(hold, body, kind)
	return c, err
}

func (s *Sharer) put(hold *image.Lease, body []byte, mediaType string) (ocispec.Descriptor, error) {
	d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(body), Size: int64(len(body))}
	hold.Add(d.Digest)
	return d, s.Blobs.Put(d.Digest, body)
}

// Inside is what an image carries of the cache: the steps whose outcomes its layers are. It is the same whatever the builder has done before:
// it is a part of the image, which the same Dockerfile shall always give.
func Inside(steps []step.Done) func(ctx context.Context, platform string, layers []result.Layer) ([]byte, error) {
	return func(ctx context.Context, _ string, layers []result.Layer) ([]byte, error) {
		entries := map[digest.Digest]*entry{}
		for _, d := range steps {
			if len(d.Refs) != 1 || d.Op.GetSource() != nil || len(d.Refs[0].Pile) == 0 || len(d.Refs[0].Pile) > len(layers) {
				continue
			}
			n := len(d.Refs[0].Pile)
			if !slices.EqualFunc(d.Refs[0].Pile, layers[:n], func(name string, l result.Layer) bool { return name == l.Name }) {
				continue
			}
			key, definition, err := d.Names(ctx)
			if err != nil {
				return nil, err
			}
			e := entries[key]
			if e == nil {
				e = &entry{key: key, chains: [][]result.Layer{layers[:n]}}
				entries[key] = e
			}
			e.alias(definition)
			slices.Sort(e.aliases)
		}
		if len(entries) == 0 {
			return nil, nil
		}
		return encode(slices.Collect(maps.Values(entries)), layers)
	}
}
