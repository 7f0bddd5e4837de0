package image

import (
	"bytes"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"github.com/cove-containers/cove/testkit"
)

// TestStorm pulls, loads, tags, removes and sweeps the same layers at once: whoever was told that an image is there finds
// it whole, and in the end nothing is left over.
func TestStorm(t *testing.T) {
	b, r := open(t), registry(t, testkit.Faults{})
	r.Push("x", "1", craft(t, "L;f a 1;L;f b 2;L;f c 3"))
	r.Push("x", "2", craft(t, "L;f a 1;L;f b 2;L;f d 4"))
	archive := archived(t, "L;f a 1;L;f b 2", "y:1")
	until := time.Now().Add(1500 * time.Millisecond)
	var wait sync.WaitGroup
	storm := func(step func()) {
		wait.Go(func() {
			for time.Now().Before(until) {
				step()
			}
		})
	}
	whole := func(img *Image, err error) {
		if err != nil {
			t.Errorf("pull: %v", err)
		} else if err := b.Unpacked(t.Context(), img); err != nil && !errdefs.IsNotFound(err) {
			t.Errorf("unpack: %v", err)
		}
	}
	for _, tag := range []string{"1", "2"} {
		storm(func() {
			img, err := b.Pull(t.Context(), r.Host()+"/x:"+tag, PullOptions{})
			if errdefs.IsNotFound(err) { // removed before it could be shown
				return
			}
			whole(img, err)
		})
		storm(func() {
			b.Remove(t.Context(), r.Host()+"/x:"+tag, RemoveOptions{})
			time.Sleep(time.Millisecond)
		})
	}
	storm(func() {
		if err := b.Load(t.Context(), bytes.NewReader(archive), LoadOptions{}); err != nil {
			t.Errorf("load: %v", err)
		}
	})
	storm(func() { b.Remove(t.Context(), "y:1", RemoveOptions{}) })
	storm(func() {
		if _, err := b.Sweep(t.Context()); err != nil {
			t.Errorf("sweep: %v", err)
		}
	})
	wait.Wait()
	whole(b.Pull(t.Context(), r.Host()+"/x:1", PullOptions{}))
	for _, name := range []string{r.Host() + "/x:1", r.Host() + "/x:2", "y:1"} {
		b.Remove(t.Context(), name, RemoveOptions{})
	}
	for name := range b.names.snapshot() { // what lost its name to a load of the same content
		b.Remove(t.Context(), name, RemoveOptions{})
	}
	if _, err := b.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.empty()
}
