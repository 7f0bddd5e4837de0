package layer

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	ct "github.com/moby/moby/api/types/container"
	"github.com/opencontainers/go-digest"
)

func TestWritable(t *testing.T) {
	h := newHouse(t)
	ctx := context.Background()
	base := h.layer("f a 1")
	if err := h.Create(ctx, "w", []digest.Digest{digest.FromString("x")}); !errdefs.IsNotFound(err) {
		t.Errorf("absent layer: %v", err)
	}
	root := h.mount("w", base)
	if err := h.Create(ctx, "w", []digest.Digest{base}); !errdefs.IsAlreadyExists(err) {
		t.Errorf("twice: %v", err)
	}
	for _, bad := range []string{"", "..", "a/b"} {
		if err := h.Create(ctx, bad, nil); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if got, err := h.Usage("w"); got != 0 || err != nil {
		t.Errorf("fresh: %d %v", got, err)
	}
	if err := os.WriteFile(root+"/big", make([]byte, 10000), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(root+"/big", root+"/same"); err != nil {
		t.Fatal(err)
	}
	if got, err := h.Usage("w"); got != 12288 || err != nil {
		t.Errorf("usage %d %v, want 12288", got, err)
	}
	shared, err := h.Root(ctx, "w")
	if err != nil {
		t.Fatal(err)
	}
	if got := read(t, fmt.Sprintf("/proc/self/fd/%d", shared.Dir.Fd()), "a"); got != "1" {
		t.Errorf("second user reads %s", got)
	}
	shared.Close()
	shared.Close()
	if got := read(t, root, "a"); got != "1" {
		t.Errorf("first user reads %s after the second left", got)
	}
	if err := h.Delete(ctx, "w"); err != nil {
		t.Fatal(err)
	}
	if err := h.Delete(ctx, "w"); err != nil {
		t.Error(err)
	}
	if got := find(t, h.path("writable")) + find(t, h.path("gone")); got != "" {
		t.Errorf("left behind %s", got)
	}
	if _, err := h.Root(ctx, "w"); !errdefs.IsNotFound(err) {
		t.Errorf("deleted: %v", err)
	}
}

func TestChanges(t *testing.T) {
	h := newHouse(t)
	base := h.layer("d etc", "f etc/passwd root", "f etc/group g", "d var", "d var/log", "f var/log/x 1", "d full", "f full/a 1", "f full/b 2", "d was", "f was/in 1", "f f 1", "d same", "f same/x 1")
	root := h.mount("c", base)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.WriteFile(root+"/etc/passwd", []byte("more"), 0o600))
	must(os.Remove(root + "/etc/group"))
	must(os.RemoveAll(root + "/var/log"))
	must(os.RemoveAll(root + "/full"))
	must(os.MkdirAll(root+"/full/new", 0o755))
	must(os.WriteFile(root+"/full/b", nil, 0o600))
	must(os.RemoveAll(root + "/was"))
	must(os.WriteFile(root+"/was", nil, 0o600))
	must(os.Remove(root + "/f"))
	must(os.Mkdir(root+"/f", 0o755))
	must(os.WriteFile(root+"/f/x", nil, 0o600))
	must(os.MkdirAll(root+"/dev/pts", 0o755))
	must(os.MkdirAll(root+"/proc", 0o755))
	must(os.WriteFile(root+"/etc/hosts", nil, 0o600))
	must(os.WriteFile(root+"/gone", nil, 0o600))
	must(os.Remove(root + "/gone"))
	touched, err := os.OpenFile(root+"/same/x", os.O_WRONLY, 0)
	must(err)
	touched.Close()
	changes, err := h.Changes(context.Background(), "c", "/dev/pts", "/proc/", "/etc/hosts")
	must(err)
	var got []string
	for _, c := range changes {
		got = append(got, map[ct.ChangeType]string{ct.ChangeModify: "C", ct.ChangeAdd: "A", ct.ChangeDelete: "D"}[c.Kind]+c.Path)
	}
	want := []string{"C/etc", "D/etc/group", "C/etc/passwd", "C/f", "A/f/x", "C/full", "D/full/a", "C/full/b", "A/full/new", "C/var", "D/var/log", "C/was", "D/was/in"}
	if !slices.Equal(got, want) {
		t.Errorf("changes\n\t%v\nwant\n\t%v", got, want)
	}
	if _, err := h.Changes(context.Background(), "nosuch"); !errdefs.IsNotFound(err) {
		t.Errorf("absent: %v", err)
	}
}

// TestMark: every container has the mark, whatever its image is, and until it removes it; no layer that is made of it does.
func TestMark(t *testing.T) {
	h := newHouse(t)
	ctx := context.Background()
	root := h.mount("w", h.layer("d . mode=700", "f a 1"))
	if info, err := os.Stat(root + "/.dockerenv"); err != nil || info.Size() != 0 || info.Mode() != 0o755 {
		t.Errorf("the mark is %v, %v", info, err)
	}
	if info, err := os.Stat(root); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the root directory is %v, %v", info, err)
	}
	var packed bytes.Buffer
	if err := h.Pack(ctx, &packed, "w"); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(packed.String(), ".dockerenv") {
		t.Error("the mark is in a layer")
	}
	if err := os.Remove(root + "/.dockerenv"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(h.mount("other", h.layer("f a 1")) + "/.dockerenv"); err != nil {
		t.Errorf("removed from one container, and from another: %v", err)
	}
	if _, err := os.Stat(root + "/.dockerenv"); err == nil {
		t.Error("the mark is back")
	}
}
