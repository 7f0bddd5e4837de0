package layer

import (
	"context"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"github.com/cove-containers/cove/sys"
)

func ended(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func TestHold(t *testing.T) {
	h := newHouse(t)
	ctx := context.Background()
	if _, err := h.Hold("w", true); !errdefs.IsNotFound(err) {
		t.Errorf("absent layer: %v", err)
	}
	h.mount("w", h.layer("f a 1"))
	reader, err := h.Hold("w", false)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := h.Overlay("w"); err != nil { // does not wait for who reads
		t.Fatal(err)
	}
	writer, err := h.Hold("w", true)
	if err != nil {
		t.Fatal(err)
	}
	asked := make(chan error, 1)
	go func() {
		_, _, _, err := h.Overlay("w")
		asked <- err
	}()
	<-writer.Wanted
	select {
	case <-asked:
		t.Fatal("the layer was given away while somebody wrote into it")
	case <-time.After(50 * time.Millisecond):
	}
	writer.Release()
	writer.Release()
	if err := <-asked; err != nil {
		t.Fatal(err)
	}
	if again, err := h.Hold("w", true); err != nil || ended(again.Wanted) || ended(again.Gone) {
		t.Errorf("a new use begins as an old one ended: %v", err)
	} else {
		again.Release()
	}
	if writer, err = h.Hold("w", true); err != nil {
		t.Fatal(err)
	}
	deleted := make(chan error, 1)
	go func() { deleted <- h.Delete(ctx, "w") }()
	<-writer.Gone
	select {
	case <-deleted:
		t.Error("deleted under the hands of who writes into it")
	case <-time.After(50 * time.Millisecond):
	}
	writer.Release()
	if err := <-deleted; err != nil {
		t.Fatal(err)
	}
	if !ended(reader.Gone) {
		t.Error("who reads was not told that the layer is gone")
	}
	reader.Release()
	if len(h.holds) != 0 || len(h.roots) != 0 {
		t.Errorf("%d uses and %d mounts are remembered", len(h.holds), len(h.roots))
	}
}

// TestRootAfterRun: what a container has written since is seen, though somebody still has the earlier mount.
func TestRootAfterRun(t *testing.T) {
	h := newHouse(t)
	ctx := context.Background()
	before := h.mount("w", h.layer("f a 1"))
	if _, err := os.Stat(before + "/new"); err == nil {
		t.Fatal("there already")
	}
	lower, upper, work, err := h.Overlay("w")
	if err != nil {
		t.Fatal(err)
	}
	running, err := sys.MountOverlay(lower, upper, work)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(procPath(running)+"/new", []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	running.Close()
	root, err := h.Root(ctx, "w")
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if _, err := os.Stat(procPath(root.Dir) + "/new"); err != nil {
		t.Error(err)
	}
}

func procPath(dir *os.File) string { return "/proc/self/fd/" + strconv.Itoa(int(dir.Fd())) }

// TestCopyRoot puts a mount on a copy, in the way of new and of old kernels: the original does not show it.
func TestCopyRoot(t *testing.T) {
	h := newHouse(t)
	h.mount("w", h.layer("d a", "f a/x 1"))
	root, err := h.Root(context.Background(), "w")
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	other := t.TempDir()
	for name, copying := range map[string]func() (*os.File, error){
		"copy":    func() (*os.File, error) { return root.Copy("") },
		"shelved": func() (*os.File, error) { return root.copyShelved(root.Dir) }} {
		c, err := copying()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		err = sys.WithPrivateMount(c, "/", func() error {
			over, err := sys.CopyMount(sys.WorkingDir, other, false)
			if err != nil {
				return err
			}
			defer over.Close()
			a, err := sys.OpenPathInRoot(c, "a", true)
			if err != nil {
				return err
			}
			defer a.Close()
			if err := sys.AttachMount(over, a); err != nil {
				return err
			}
			if f, err := sys.OpenPathInRoot(c, "a/x", true); err == nil {
				f.Close()
				t.Errorf("%s: the mount is not seen on the copy", name)
			}
			return nil
		})
		c.Close()
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Stat(procPath(root.Dir) + "/a/x"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
