package image

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"github.com/ulikunitz/xz"

	"github.com/cove-containers/cove/testkit"
)

func save(t *testing.T, b *bench, references ...string) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := b.Save(t.Context(), references, nil, &out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// TestSaveAndLoad is the first half of case CP-6.
func TestSaveAndLoad(t *testing.T) {
	b := open(t)
	b.mustLoad(archived(t, "L;f a 1", "a:1"))
	if err := b.Tag(t.Context(), "a:1", "a:2"); err != nil {
		t.Fatal(err)
	}
	b.mustLoad(archived(t, "L;f a 1;L;f b 2", "k"))
	all, byID := save(t, b, "a:1", "a:2", "k"), ""
	if again := save(t, b, "a:1", "a:2", "k"); !bytes.Equal(all, again) {
		t.Error("the same images give other bytes")
	}
	ids := map[string]digest.Digest{}
	for _, name := range []string{"a:1", "a:2", "k"} {
		img, err := b.Get(t.Context(), name, nil)
		if err != nil {
			t.Fatal(err)
		}
		ids[name] = img.ID
	}
	byID = ids["a:1"].String()
	untagged := save(t, b, byID)
	if n := strings.Count(string(all), "blobs/sha256/"+digest.FromBytes(craft(t, "L;f a 1").Layers[0]).Encoded()+"\x00"); n != 1 {
		t.Errorf("the shared layer is stored %d times", n)
	}

	other := open(t)
	if said := other.mustLoad(all); said != "Loaded image: a:1\nLoaded image: a:2\nLoaded image: k:latest\n" {
		t.Errorf("load says %q", said)
	}
	for name, id := range ids {
		if img, err := other.Get(t.Context(), name, nil); err != nil || img.ID != id {
			t.Errorf("%s: %v", name, err)
		}
	}
	third := open(t)
	if said := third.mustLoad(untagged); said != "Loaded image ID: "+byID+"\n" {
		t.Errorf("load says %q", said)
	}
	if img, err := third.Get(t.Context(), byID[7:19], nil); err != nil || len(img.RepoTags) != 0 {
		t.Errorf("by short ID: %v", err)
	}
}

func TestLoadCompressed(t *testing.T) {
	plain := archived(t, "L;f a 1", "x:1")
	var gz, xzed bytes.Buffer
	z := gzip.NewWriter(&gz)
	z.Write(plain)
	z.Close()
	x, err := xz.NewWriter(&xzed)
	if err != nil {
		t.Fatal(err)
	}
	x.Write(plain)
	x.Close()
	for name, archive := range map[string][]byte{"gzip": gz.Bytes(), "xz": xzed.Bytes()} {
		b := open(t)
		if said, err := b.load(archive); err != nil || said != "Loaded image: x:1\n" {
			t.Errorf("%s: %q %v", name, said, err)
		}
		b = open(t)
		if _, err := b.load(archive[:len(archive)-20]); err == nil {
			t.Errorf("%s: a truncated stream was taken", name)
		}
		b.empty()
	}
}

// TestTruncated cuts an archive at many places: nothing may stay and no tag may move.
func TestTruncated(t *testing.T) {
	b := open(t)
	b.mustLoad(archived(t, "L;f old 1", "x:1"))
	before, _ := b.Get(t.Context(), "x:1", nil)
	blobs, _ := b.blobs.List()
	archive := archived(t, "L;f a 1;L;f b 2", "x:1")
	for cut := 0; cut < len(archive)-1024-512; cut += 509 {
		if _, err := b.load(archive[:cut]); err == nil {
			t.Fatalf("cut at %d of %d: taken", cut, len(archive))
		}
	}
	after, err := b.Get(t.Context(), "x:1", nil)
	left, _ := b.blobs.List()
	if err != nil || after.ID != before.ID || len(left) != len(blobs) || len(b.trees.have) != 1 {
		t.Errorf("after failed loads: %v, %d blobs instead of %d, layers %v", err, len(left), len(blobs), b.trees.have)
	}
}

// pack makes a tar; a name with "->" is a link, "=>" a hard link.
func pack(t *testing.T, files ...string) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for i := 0; i < len(files); i += 2 {
		h := &tar.Header{Name: files[i], Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(files[i+1]))}
		body := files[i+1]
		if target, ok := strings.CutPrefix(body, "->"); ok {
			h.Typeflag, h.Linkname, h.Size, body = tar.TypeSymlink, target, 0, ""
		}
		if target, ok := strings.CutPrefix(body, "=>"); ok {
			h.Typeflag, h.Linkname, h.Size, body = tar.TypeLink, target, 0, ""
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		io.WriteString(w, body)
	}
	w.Close()
	return out.Bytes()
}

// TestLinkedLayers is the second half of case CP-6: links inside the archive, and out of it.
func TestLinkedLayers(t *testing.T) {
	im := craft(t, "L comp=none;f a 1;L same=1")
	manifest := func(layers ...string) string {
		raw, _ := json.Marshal([]any{map[string]any{"Config": "c.json", "RepoTags": []string{"x:1"}, "Layers": layers}})
		return string(raw)
	}
	layer, config := string(im.Layers[0]), string(im.Config)
	for _, good := range []string{"->../0/layer.tar", "=>0/layer.tar", "->./../1/../0/./layer.tar"} {
		b := open(t)
		if _, err := b.load(pack(t, "0/layer.tar", layer, "1/layer.tar", good, "c.json", config, "manifest.json", manifest("0/layer.tar", "1/layer.tar"))); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{"->../../../../etc/passwd", "->/etc/passwd", "=>../etc/passwd", "->../1/layer.tar", "->../nosuch"} {
		b := open(t)
		_, err := b.load(pack(t, "0/layer.tar", layer, "1/layer.tar", bad, "c.json", config, "manifest.json", manifest("0/layer.tar", "1/layer.tar")))
		mention(t, err, "invalid")
		b.empty()
	}
}

func TestGarbage(t *testing.T) {
	b := open(t)
	im := craft(t, "L;f a 1")
	config := string(im.Config)
	for name, archive := range map[string][]byte{
		"nothing":             nil,
		"text":                []byte(strings.Repeat("this is no archive at all. ", 100)),
		"empty tar":           pack(t),
		"foreign tar":         pack(t, "etc/passwd", "root"),
		"no JSON":             pack(t, "manifest.json", "{"),
		"no images":           pack(t, "manifest.json", "[]"),
		"no config":           pack(t, "manifest.json", `[{"Config":"c","Layers":[]}]`),
		"config is no JSON":   pack(t, "c", "x", "manifest.json", `[{"Config":"c","Layers":[]}]`),
		"layers do not match": pack(t, "c", config, "manifest.json", `[{"Config":"c","Layers":[]}]`),
		"bad tag":             pack(t, "c", `{"rootfs":{}}`, "manifest.json", `[{"Config":"c","RepoTags":["A B"],"Layers":[]}]`),
		"old format":          pack(t, "repositories", "{}"),
		"wrong blob":          pack(t, "blobs/sha256/"+strings.Repeat("0", 64), "x"),
		"missing blob":        pack(t, "oci-layout", "{}", "index.json", `{"schemaVersion":2,"manifests":[{"digest":"sha256:`+strings.Repeat("0", 64)+`"}]}`),
		"bad whiteout":        archived(t, "L;f a 1;L;w .wh..", "x:1"),
	} {
		_, err := b.load(archive)
		if err == nil {
			t.Errorf("%s: taken", name)
		} else if !strings.Contains(err.Error(), "invalid") {
			t.Errorf("%s: %v", name, err)
		}
		b.empty()
	}
}

func TestUntaggedStaysNamed(t *testing.T) {
	b := open(t)
	b.mustLoad(archived(t, "L;f a 1", "x:1"))
	b.mustLoad(archived(t, "L;f a 1", ""))
	if list, err := b.List(t.Context(), ListOptions{}); err != nil || len(list) != 1 || len(list[0].RepoTags) != 1 {
		t.Errorf("%v %v", list, err)
	}
}

func TestRealImages(t *testing.T) {
	dir, err := testkit.Images("..")
	if err != nil {
		t.Skip(err)
	}
	b := open(t)
	for file, name := range map[string]string{"busybox.tar": "busybox:latest", "alpine.tar": "alpine:3.20", "hello-world.tar": "hello-world:latest"} {
		raw, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		if said := b.mustLoad(raw); said != "Loaded image: "+name+"\n" {
			t.Errorf("load says %q", said)
		}
		img, err := b.Get(t.Context(), name, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Unpacked(t.Context(), img); err != nil {
			t.Error(err)
		}
		if _, err := testkit.FromLayout(bytes.NewReader(save(t, b, name)), img.Config.Architecture); err != nil {
			t.Errorf("what was saved cannot be read: %v", err)
		}
	}
}

func TestEmbedded(t *testing.T) {
	b := open(t)
	opened := 0
	b.SetEmbedded(map[string]func() (io.ReadCloser, error){"docker.io/library/hello:latest": func() (io.ReadCloser, error) {
		opened++
		return io.NopCloser(bytes.NewReader(archived(t, "L;f hello 1", "other:1"))), nil
	}})
	img, said, err := b.pull("hello")
	if err != nil || img.RepoTags[0] != "hello:latest" || len(img.RepoTags) != 1 || opened != 1 || !strings.Contains(said, "Downloaded newer image for hello:latest") {
		t.Errorf("%v %v %q", img, err, said)
	}
	if _, said, err = b.pull("hello"); err != nil || !strings.Contains(said, "Image is up to date for hello:latest") {
		t.Errorf("again: %v %q", err, said)
	}
}

// TestManyFiles holds the memory an archive can claim.
func TestManyFiles(t *testing.T) {
	if testing.Short() {
		t.Skip("writes many small files")
	}
	var files []string
	for i := range 65536 + 2 {
		files = append(files, fmt.Sprint("l", i), "->x")
	}
	b := open(t)
	_, err := b.load(pack(t, files...))
	mention(t, err, "invalid archive: more than")
}

// FuzzLoad feeds archives that are nearly right: whatever happens, a failed load leaves nothing.
func FuzzLoad(f *testing.F) {
	im, err := testkit.Craft("L;f a 1", nil)
	if err != nil {
		f.Fatal(err)
	}
	archive, err := im.DockerArchive("x:1")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(archive)
	f.Add([]byte("\x1f\x8b\x08"))
	f.Fuzz(func(t *testing.T, archive []byte) {
		b := open(t)
		if _, err := b.load(archive); err != nil {
			b.empty()
		}
	})
}

// TestSaveIsWhole: what an archive cannot do without, and is gone when it comes to be written, ends it; what was not all here
// anyway does not.
func TestSaveIsWhole(t *testing.T) {
	b := open(t)
	gone := digest.FromString("gone")
	for _, needed := range []bool{true, false} {
		err := b.writeBundle(t.Context(), io.Discard, nil, map[digest.Digest]bool{gone: needed})
		if errdefs.IsNotFound(err) != needed || !needed && err != nil {
			t.Errorf("needed %v: %v", needed, err)
		}
	}
}
