package share

import (
	"encoding/json"
	"slices"
	"strings"

	cacheconfig "github.com/moby/buildkit/cache/remotecache/v1/types"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cove-containers/cove/build/result"
	"github.com/cove-containers/cove/oci"
)

// sameAs marks a record that says only: this key means the same as that other record.
const sameAs = "cove.same"

// Bounds of what is believed of a cache's description.
const (
	maxRecords = 200_000
	maxLayers  = 50_000
	maxLinks   = 250_000 // of all chains: two bytes of the description make a whole layer of each
)

// entry is what a step made, as layers that are elsewhere: for each of its outputs a chain, lowest first.
type entry struct {
	key     digest.Digest
	aliases []digest.Digest
	chains  [][]result.Layer
}

// alias notes further names of e, but for what it has already, and for the empty one.
func (e *entry) alias(names ...digest.Digest) {
	for _, name := range names {
		if name != "" && name != e.key && !slices.Contains(e.aliases, name) {
			e.aliases = append(e.aliases, name)
		}
	}
}

// encode describes entries. With inline the layers are those of an image, named by their places in it, which must begin with every chain.
func encode(entries []*entry, inline []result.Layer) ([]byte, error) {
	var config cacheconfig.CacheConfig
	at := map[digest.Digest]int{}
	slices.SortFunc(entries, func(a, b *entry) int { return strings.Compare(string(a.key), string(b.key)) })
	for _, e := range entries {
		record := cacheconfig.CacheRecord{Digest: e.key}
		for _, chain := range e.chains {
			one := cacheconfig.ChainedResult{LayerIndexes: []int{}}
			for i, l := range chain {
				if inline != nil {
					one.LayerIndexes = append(one.LayerIndexes, i)
					continue
				}
				place, known := at[l.Desc.Digest]
				if !known {
					place = len(config.Layers)
					at[l.Desc.Digest] = place
					config.Layers = append(config.Layers, cacheconfig.CacheLayer{
						Blob: l.Desc.Digest, ParentIndex: -1,
						Annotations: &cacheconfig.LayerAnnotations{MediaType: l.Desc.MediaType, DiffID: l.DiffID, Size: l.Desc.Size},
					})
				}
				one.LayerIndexes = append(one.LayerIndexes, place)
			}
			record.ChainedResults = append(record.ChainedResults, one)
		}
		config.Records = append(config.Records, record)
	}
	for i, e := range entries {
		for _, a := range e.aliases {
			config.Records = append(config.Records, cacheconfig.CacheRecord{
				Digest: a, Inputs: [][]cacheconfig.CacheInput{{{Selector: sameAs, LinkIndex: i}}},
			})
		}
	}
	return json.Marshal(config)
}

// decode reads a description. layers are the blobs that lie beside it, by their digests, or, inline, those of the image in their order.
func decode(body []byte, layers map[digest.Digest]ocispec.Descriptor, inline []result.Layer) (map[digest.Digest]*entry, error) {
	var config cacheconfig.CacheConfig
	if err := json.Unmarshal(body, &config); err != nil {
		return nil, invalid("the description of the cache cannot be read: %v", err)
	}
	if len(config.Records) > maxRecords || len(config.Layers) > maxLayers {
		return nil, invalid("the description of the cache has %d records and %d layers: too many", len(config.Records), len(config.Layers))
	}
	known := inline
	if inline == nil {
		known = make([]result.Layer, len(config.Layers))
		for i, l := range config.Layers {
			desc, there := layers[l.Blob]
			if there && l.Annotations != nil && oci.CheckDigest(l.Annotations.DiffID) == nil {
				known[i] = result.Layer{DiffID: l.Annotations.DiffID, Desc: ocispec.Descriptor{MediaType: desc.MediaType, Digest: desc.Digest, Size: desc.Size}}
			}
		}
	}
	links := 0
	for _, r := range config.Records {
		for _, c := range r.ChainedResults {
			links += 1 + len(c.LayerIndexes)
		}
	}
	if links > maxLinks {
		return nil, invalid("the description of the cache has chains of %d layers: too many", links)
	}
	out := map[digest.Digest]*entry{}
	made := make([]*entry, len(config.Records))
	for i, r := range config.Records {
		if oci.CheckDigest(r.Digest) != nil || len(r.ChainedResults) == 0 {
			continue
		}
		if e := (&entry{key: r.Digest}); e.take(r.ChainedResults, known) {
			made[i], out[r.Digest] = e, e
		}
	}
	for _, r := range config.Records {
		if len(r.Inputs) != 1 || len(r.Inputs[0]) != 1 || r.Inputs[0][0].Selector != sameAs || oci.CheckDigest(r.Digest) != nil {
			continue
		}
		if i := r.Inputs[0][0].LinkIndex; i >= 0 && i < len(made) && made[i] != nil && out[r.Digest] == nil {
			out[r.Digest] = made[i]
		}
	}
	return out, nil
}

// take follows the chains; one that leads to a layer that is not there makes the entry worthless.
func (e *entry) take(chains []cacheconfig.ChainedResult, known []result.Layer) bool {
	for _, c := range chains {
		if len(c.LayerIndexes) > 1000 {
			return false
		}
		chain := []result.Layer{}
		for _, i := range c.LayerIndexes {
			if i < 0 || i >= len(known) || known[i].Desc.Digest == "" {
				return false
			}
			chain = append(chain, known[i])
		}
		e.chains = append(e.chains, chain)
	}
	return true
}
