package share

import (
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cove-containers/cove/build/step"
	"github.com/cove-containers/cove/image"
)

// TestLayersComeAtOnce: each of the layers that come at the same time has one beginning.
func TestLayersComeAtOnce(t *testing.T) {
	var mu sync.Mutex
	seen := map[string]map[int64]bool{}
	env := &step.Env{Progress: func(s step.Status) {
		mu.Lock()
		defer mu.Unlock()
		if seen[s.ID] == nil {
			seen[s.ID] = map[int64]bool{}
		}
		seen[s.ID][s.Started.UnixNano()] = true
	}}
	began := beginnings{at: map[digest.Digest]time.Time{}}
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for n := range 200 {
				layer := ocispec.Descriptor{Digest: digest.FromString(string(rune('a' + (i+n)%16)))}
				began.tell(env, image.Coming{Layer: layer, Current: int64(n)})
			}
		})
	}
	all.Wait()
	for layer, beginnings := range seen {
		if len(beginnings) != 1 {
			t.Errorf("%s began %d times", layer, len(beginnings))
		}
	}
	if len(seen) != 16 {
		t.Errorf("%d layers", len(seen))
	}
}
