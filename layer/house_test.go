package layer

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/cove-containers/cove/state"
	"github.com/cove-containers/cove/sys"
)

// house is a store with the database it needs and the tars it was fed with.
type house struct {
	*Store
	t    testing.TB
	dir  string
	db   *state.DB
	tars map[digest.Digest][]byte
}

func newHouse(t testing.TB) *house {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: owners, devices, overlayfs")
	}
	h := &house{t: t, dir: t.TempDir(), tars: map[digest.Digest][]byte{}}
	mounts, fds := countMounts(t, h.dir), countFDs(t)
	t.Cleanup(func() {
		if got := countMounts(t, h.dir); got != mounts {
			t.Errorf("%d mounts became %d", mounts, got)
		}
		if got := countFDs(t); got > fds {
			t.Errorf("%d open files became %d", fds, got)
		}
	})
	h.reopen()
	t.Cleanup(func() { h.db.Close() })
	return h
}

// reopen is what a new process does after the old one was killed.
func (h *house) reopen() {
	h.t.Helper()
	if h.db != nil {
		h.db.Close()
	}
	var err error
	if h.db, err = state.Open(filepath.Join(h.dir, "cove.db")); err != nil {
		h.t.Fatal(err)
	}
	if h.Store, err = Open(filepath.Join(h.dir, "layers"), h.db); err != nil {
		h.t.Fatal(err)
	}
}

// countMounts counts those that have to do with folder dir: others come and go.
func countMounts(t testing.TB, dir string) int {
	t.Helper()
	raw, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Count(raw, []byte(dir))
}

func countFDs(t testing.TB) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// craft writes a tar. Items are "d PATH", "f PATH TEXT", "s PATH TARGET", "h PATH TARGET", followed by mode=, uid=, mtime=.
func craft(t testing.TB, items ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, item := range items {
		words := strings.Fields(item)
		h := &tar.Header{Name: words[1], Mode: 0o644, ModTime: time.Unix(1500000000, 0)}
		var args []string
		for _, word := range words[2:] {
			key, value, ok := strings.Cut(word, "=")
			var n int64
			switch {
			case ok && key == "mode":
				fmt.Sscanf(value, "%o", &h.Mode)
			case ok && key == "uid":
				fmt.Sscanf(value, "%d", &h.Uid)
			case ok && key == "mtime":
				fmt.Sscanf(value, "%d", &n)
				h.ModTime = time.Unix(n, 0)
			default:
				args = append(args, word)
			}
		}
		text := strings.Join(args, " ")
		switch words[0] {
		case "d":
			h.Typeflag = tar.TypeDir
			if h.Mode == 0o644 {
				h.Mode = 0o755
			}
			text = ""
		case "s":
			h.Typeflag, h.Linkname, text = tar.TypeSymlink, text, ""
		case "h":
			h.Typeflag, h.Linkname, text = tar.TypeLink, text, ""
		case "f":
			h.Typeflag, h.Size = tar.TypeReg, int64(len(text))
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		io.WriteString(w, text)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func (h *house) add(raw []byte) digest.Digest {
	h.t.Helper()
	id := digest.FromBytes(raw)
	h.tars[id] = raw
	if _, err := h.Apply(context.Background(), id, bytes.NewReader(raw)); err != nil {
		h.t.Fatal(err)
	}
	return id
}

func (h *house) layer(items ...string) digest.Digest {
	h.t.Helper()
	return h.add(craft(h.t, items...))
}

func (h *house) again(_ context.Context, id digest.Digest) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(h.tars[id])), nil
}

// root prepares the layers, lays a writable one on them and mounts it.
func (h *house) mount(id string, diffIDs ...digest.Digest) string {
	h.t.Helper()
	ctx := context.Background()
	if err := h.Prepare(ctx, diffIDs, h.again); err != nil {
		h.t.Fatal(err)
	}
	if err := h.Create(ctx, id, diffIDs); err != nil {
		h.t.Fatal(err)
	}
	r, err := h.Root(ctx, id)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { r.Close() })
	return fmt.Sprintf("/proc/self/fd/%d", r.Dir.Fd())
}

// find lists a tree, directories with a slash at their end, without the mark.
func find(t testing.TB, root string) string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(root+"/", func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(path, root+"/")
		if name == ".dockerenv" {
			return nil
		}
		if d.IsDir() {
			name += "/"
		}
		all = append(all, name)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(all[1:], " ")
}

func stat(t testing.TB, root, path string) string {
	t.Helper()
	f, err := os.Open(filepath.Join(root, filepath.Dir(path)))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	st, err := sys.StatAt(sys.Borrow(f), filepath.Base(path))
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%o %d", st.Mode&0o7777, st.UID)
}

func read(t testing.TB, root, path string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		return err.Error()
	}
	return string(raw)
}
