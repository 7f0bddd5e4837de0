package share

import (
	"encoding/json"
	"testing"

	cacheconfig "github.com/moby/buildkit/cache/remotecache/v1/types"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cove-containers/cove/build/result"
)

// TestDecodeBounds: a small description does not come to a large one in memory.
func TestDecodeBounds(t *testing.T) {
	layers := []result.Layer{{DiffID: key("layer"), Desc: ocispec.Descriptor{Digest: key("blob")}}}
	for chains, fits := range map[int]bool{1: true, maxLinks / 1000: false} {
		record := cacheconfig.CacheRecord{Digest: key("step")}
		for range chains {
			record.ChainedResults = append(record.ChainedResults, cacheconfig.ChainedResult{LayerIndexes: make([]int, 1000)})
		}
		body, err := json.Marshal(cacheconfig.CacheConfig{Records: []cacheconfig.CacheRecord{record}})
		must(t, err)
		if found, err := decode(body, nil, layers); (err == nil) != fits || fits && len(found) != 1 {
			t.Errorf("%d chains in %d bytes: %d entries, %v", chains, len(body), len(found), err)
		}
	}
}
