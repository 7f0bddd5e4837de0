package layer

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/cove-containers/cove/state"
)

// TestMain also is the program that the tests of this file start.
func TestMain(m *testing.M) {
	dir := os.Getenv("LAYER_TEST_APPLY")
	if dir == "" {
		os.Exit(m.Run())
	}
	db, err := state.Open(filepath.Join(dir, "cove.db"))
	if err == nil {
		var s *Store
		if s, err = Open(filepath.Join(dir, "layers"), db); err == nil {
			_, err = s.Apply(context.Background(), digest.Digest(os.Getenv("LAYER_TEST_ID")), os.Stdin)
		}
		left, _ := filepath.Glob(filepath.Join(dir, "layers/*/[^.]*"))
		fmt.Println("left", left)
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	os.Exit(0)
}

func self(t *testing.T, dir string, id digest.Digest, args ...string) *exec.Cmd {
	t.Helper()
	args = append(args, os.Args[0])
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), "LAYER_TEST_APPLY="+dir, "LAYER_TEST_ID="+id.String())
	return cmd
}

// TestKilled kills a process while it unpacks: the next one finds nothing of it and can do the work.
func TestKilled(t *testing.T) {
	h := newHouse(t)
	h.db.Close()
	var items []string
	for i := range 200 {
		items = append(items, fmt.Sprintf("f file%d %s", i, strings.Repeat("x", 5000)))
	}
	raw := craft(t, items...)
	id := digest.FromBytes(raw)
	for round := range 3 {
		cmd := self(t, h.dir, id)
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := in.Write(raw[:len(raw)*(round+1)/4]); err != nil {
			t.Error(err)
		}
		for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
			if making, _ := filepath.Glob(filepath.Join(h.dir, "layers/making/*/*")); len(making) > 0 {
				break
			}
		}
		cmd.Process.Kill()
		in.Close()
		cmd.Wait()
		h.reopen()
		if got := find(t, h.path("making")) + find(t, h.path("trees")); got != "" || h.Has(id) {
			t.Errorf("left behind %.100s", got)
		}
		h.db.Close()
	}
	h.reopen()
	h.add(raw)
}

// TestFullDisk unpacks more than there is room for.
func TestFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: mounts a small file system in a mount namespace of its own")
	}
	if _, err := exec.LookPath("unshare"); err != nil {
		t.Skip("needs unshare")
	}
	dir := t.TempDir()
	raw := craft(t, "d a", "f a/small 1", "f big "+strings.Repeat("x", 8<<20))
	cmd := self(t, dir, digest.FromBytes(raw), "unshare", "-m", "sh", "-c", `mount -t tmpfs -o size=4m none "$LAYER_TEST_APPLY" && exec "$0"`)
	cmd.Stdin = bytes.NewReader(raw)
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "no space left on device") {
		t.Errorf("%v: %s", err, out)
	}
	if !strings.HasPrefix(string(out), "left []\n") {
		t.Errorf("left behind %s", out)
	}
}

// TestDrawing compares the tree on disk with the drawing in the package comment.
func TestDrawing(t *testing.T) {
	h := newHouse(t)
	source, err := os.ReadFile("layer.go")
	if err != nil {
		t.Fatal(err)
	}
	low, top := h.layer("d t mode=700"), h.layer("f t/x 1")
	h.mount("box", low, top)
	if err := h.Build(context.Background(), "step", nil); err != nil {
		t.Fatal(err)
	}
	names := strings.NewReplacer(low.Encoded(), "<hex>", top.Encoded(), "<hex>", chains([]digest.Digest{low, top})[1].Encoded(), "<hex>", "box", "<id>", "step", "<name>")
	want := map[string]bool{}
	for line := range strings.Lines(string(source)) {
		if entry, ok := strings.CutPrefix(line, "//\t    "); ok {
			path, _, _ := strings.Cut(entry, " ")
			dir, inner, ok := strings.Cut(path, "{")
			if !ok {
				want[path] = true
				continue
			}
			for _, name := range strings.Split(strings.TrimRight(inner, "}/"), ",") {
				want[dir+name+"/"] = true
			}
		}
	}
	for _, dir := range []string{"", "trees", "fixes", "writable", "writable/box", "built", "built/step"} {
		entries, err := os.ReadDir(h.path(dir))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			name := names.Replace(filepath.Join(dir, e.Name()))
			if e.IsDir() {
				name += "/"
			}
			drawn := want[name]
			for path := range want {
				drawn = drawn || strings.HasPrefix(path, name)
			}
			if !drawn {
				t.Errorf("%s is not in the drawing %v", name, want)
			}
		}
	}
	if got, _ := os.ReadFile(h.path("FORMAT")); string(got) != format+"\n" || !strings.Contains(string(source), `"`+format+`"`) {
		t.Errorf("format is %q", got)
	}
}

// BenchmarkApply unpacks a layer of 4,000 small files; the bar is what tar needs for the same.
func BenchmarkApply(b *testing.B) {
	var items []string
	for i := range 40 {
		items = append(items, fmt.Sprintf("d dir%d", i))
		for j := range 100 {
			items = append(items, fmt.Sprintf("f dir%d/file%d %s", i, j, strings.Repeat("x", 12000)))
		}
	}
	raw := craft(b, items...)
	b.Run("cove", func(b *testing.B) {
		h := newHouse(b)
		for b.Loop() {
			id := h.add(raw)
			b.StopTimer()
			h.Remove(id)
			b.StartTimer()
		}
	})
	b.Run("tar", func(b *testing.B) {
		if _, err := exec.LookPath("tar"); err != nil {
			b.Skip("needs tar")
		}
		for b.Loop() {
			dir := b.TempDir()
			cmd := exec.Command("tar", "-x", "-C", dir)
			cmd.Stdin = io.MultiReader(bytes.NewReader(raw))
			if out, err := cmd.CombinedOutput(); err != nil {
				b.Fatalf("%v: %s", err, out)
			}
			b.StopTimer()
			os.RemoveAll(dir)
			b.StartTimer()
		}
	})
}

// BenchmarkContainer makes, mounts and deletes a container's layer on 20 others.
func BenchmarkContainer(b *testing.B) {
	h := newHouse(b)
	var ids []digest.Digest
	for i := range 20 {
		ids = append(ids, h.layer(fmt.Sprintf("f file%d 1", i)))
	}
	ctx := context.Background()
	for _, step := range []string{"create and delete", "mount"} {
		b.Run(step, func(b *testing.B) {
			for b.Loop() {
				if err := h.Create(ctx, "c", ids); err != nil {
					b.Fatal(err)
				}
				if step == "mount" {
					r, err := h.Root(ctx, "c")
					if err != nil {
						b.Fatal(err)
					}
					r.Close()
				}
				if err := h.Delete(ctx, "c"); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
