package layer

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/cove-containers/cove/sys"
)

// mapping numbers files by a user namespace whose root is 1000:2000 outside.
func mapping(t *testing.T) *sys.Mapping {
	t.Helper()
	holder := exec.Command("sleep", "1000")
	holder.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: 1000, Size: 100}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: 2000, Size: 100}},
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = holder.Process.Kill(); _ = holder.Wait() }()
	users, err := os.Open(fmt.Sprintf("/proc/%d/ns/user", holder.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { users.Close() })
	return &sys.Mapping{Users: users, UID: 1000, GID: 2000}
}

// TestMapped shows layers as belonging to others than on the disk, beside mounts that do not, and never one that is written to in
// both ways at once.
func TestMapped(t *testing.T) {
	h, ctx := newHouse(t), context.Background()
	as := mapping(t)
	image := Images([]digest.Digest{h.layer("d etc uid=3", "f etc/a 1", "f gone 1")})
	for what, below := range map[string]Pile{"image": image, "nothing": nil, "built": h.step("low", image, "f b 2")} {
		if err := h.Build(ctx, what, below); err != nil {
			t.Fatal(err)
		}
		r, err := h.RootAs(ctx, what, as)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := h.Root(ctx, what); !errdefs.IsFailedPrecondition(err) {
			t.Errorf("on %s: mounted once more with other owners: %v", what, err)
		}
		again, err := h.RootAs(ctx, what, as)
		if err != nil {
			t.Fatal(err)
		}
		again.Close()
		copied, err := r.Copy("")
		if err != nil {
			t.Fatal(err)
		}
		at := fmt.Sprintf("/proc/self/fd/%d/", copied.Fd())
		_ = os.Remove(at + "gone") // leaves a mark in the layer that overlayfs makes
		if err := os.WriteFile(at+"new", nil, 0o644); err == nil {
			t.Errorf("on %s: somebody the namespace does not know has made a file", what)
		}
		err = sys.OnOwnThread(func() error {
			if err := sys.ActAs(1004, 2005); err != nil {
				return err
			}
			return os.WriteFile(at+"mine", nil, 0o644)
		})
		if err != nil {
			t.Errorf("on %s: %v", what, err)
		}
		if got := stat(t, at, "."); got != "755 1000" {
			t.Errorf("on %s: the root is %s", what, got)
		}
		copied.Close()
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := h.Seal(ctx, what); err != nil {
			t.Fatal(err)
		}
		pile := append(below[:len(below):len(below)], what)
		var views []*Root // open at once
		for whose, want := range map[*sys.Mapping]string{nil: "644 4", as: "644 1004"} {
			view, err := h.OpenPileAs(ctx, pile, whose)
			if err != nil {
				t.Fatal(err)
			}
			views = append(views, view)
			if got := stat(t, fmt.Sprintf("/proc/self/fd/%d", view.Dir.Fd()), "mine"); got != want {
				t.Errorf("on %s, %v: %s, want %s", what, whose, got, want)
			}
			if _, err := os.Lstat(fmt.Sprintf("/proc/self/fd/%d/gone", view.Dir.Fd())); err == nil {
				t.Errorf("on %s: what was removed is there", what)
			}
		}
		for _, view := range views {
			view.Close()
		}
	}
	for whose, want := range map[*sys.Mapping]string{nil: "755 0", as: "755 1000"} {
		view, err := h.OpenPileAs(ctx, nil, whose)
		if err != nil {
			t.Fatal(err)
		}
		if got := stat(t, fmt.Sprintf("/proc/self/fd/%d", view.Dir.Fd()), "."); got != want {
			t.Errorf("nothing, %v: %s, want %s", whose, got, want)
		}
		view.Close()
	}
	if n := len(h.roots); n > 0 {
		t.Errorf("%d mounts are remembered", n)
	}
	h.sound()
}
