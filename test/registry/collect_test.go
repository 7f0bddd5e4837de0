package registry_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// TestCollectManyWhilePushing collects 10,000 blobs while four clients push: none of them is refused or waits long, and
// exactly the 10,000 are gone.
func TestCollectManyWhilePushing(t *testing.T) {
	const garbage = 10_000
	dir := t.TempDir()
	s := serve(t, dir, nil)
	s.image("r", "first", "layer of first")
	old := time.Now().Add(-48 * time.Hour)
	// Laid out as the package's comment draws it: going through the door would take most of the test's time.
	for _, folder := range []string{"blobs/sha256", "links/r+"} {
		if err := os.MkdirAll(filepath.Join(dir, folder), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for i := range garbage {
		content := fmt.Sprint("garbage ", i)
		d := digest.FromString(content)
		for path, text := range map[string]string{"blobs/sha256/" + d.Encoded(): content, "links/r+/" + d.String(): ""} {
			p := filepath.Join(dir, path)
			if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chtimes(p, old, old); err != nil {
				t.Fatal(err)
			}
		}
	}
	done := make(chan struct{})
	var mu sync.Mutex
	var times []time.Duration
	var tags []string
	var pushers sync.WaitGroup
	for n := range 4 {
		pushers.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-done:
					return
				default:
				}
				tag, began := fmt.Sprintf("t%d-%d", n, i), time.Now()
				s.image("r", tag, "layer of "+tag)
				mu.Lock()
				times, tags = append(times, time.Since(began)), append(tags, tag)
				mu.Unlock()
			}
		})
	}
	time.Sleep(100 * time.Millisecond)
	began := time.Now()
	_, text := s.ask("POST", "/v2/_cove/gc", nil)
	took := time.Since(began)
	close(done)
	pushers.Wait()
	var got struct{ Blobs, Links int }
	if err := json.Unmarshal([]byte(text), &got); err != nil || got.Blobs != garbage || got.Links != garbage {
		t.Errorf("collected %s, %v", text, err)
	}
	for _, tag := range append(tags, "first") {
		a, text := s.ask("GET", "/v2/r/manifests/"+tag, nil)
		if a.StatusCode != http.StatusOK {
			t.Errorf("%s: %s", tag, text)
		}
		s.want(http.StatusOK, "", "GET", "/v2/r/blobs/"+digest.FromString("layer of "+tag).String(), nil)
	}
	slices.Sort(times)
	if len(times) == 0 {
		t.Fatal("nothing was pushed")
	}
	longest := times[len(times)-1]
	t.Logf("%d blobs collected in %v; %d pushes meanwhile, half of them within %v, all within %v", garbage, took, len(times), times[len(times)/2], longest)
	if longest > 20*time.Second {
		t.Errorf("a push took %v", longest)
	}
}
