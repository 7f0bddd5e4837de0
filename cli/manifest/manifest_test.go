package manifest

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	digest "github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cove-containers/cove/ref"
)

func named(t *testing.T, text string) ref.Name {
	t.Helper()
	name, err := parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return name
}

func TestStore(t *testing.T) {
	s := store{filepath.Join(t.TempDir(), "manifests")}
	list, one, two := named(t, "r:5000/a/b"), named(t, "one"), named(t, "two:2@sha256:"+strings.Repeat("0", 64))
	if _, err := s.list(list); !errdefs.IsNotFound(err) || err.Error() != "No such manifest: r:5000/a/b:latest" {
		t.Errorf("an absent list: %v", err)
	}
	raw := []byte(`{"schemaVersion":2,"config":{"digest":"c"},"layers":[{"digest":"l"}]}`)
	desc := ocispec.Descriptor{MediaType: dockerManifest, Digest: digest.FromBytes(raw), Size: int64(len(raw))}
	for _, name := range []ref.Name{two, one, one} {
		if err := s.put(list, name, newEntry(name, desc, raw)); err != nil {
			t.Fatal(err)
		}
	}
	entries, err := s.list(list)
	if err != nil || len(entries) != 2 || entries[0].Ref != "docker.io/library/one:latest" || string(entries[1].Raw) != string(raw) || entries[1].OCIManifest != nil {
		t.Fatalf("%+v %v", entries, err)
	}
	blobs, err := entries[0].blobs()
	if err != nil || len(blobs) != 2 || blobs[0].Digest != "c" || blobs[1].Digest != "l" {
		t.Errorf("%v %v", blobs, err)
	}
	if files, _ := os.ReadDir(s.dir); len(files) != 1 || files[0].Name() != "r-5000_a_b-latest" {
		t.Errorf("beside the list lie %v", files)
	}
	if got := s.names(); !slices.Equal(got, []string{"r:5000/a/b:latest"}) {
		t.Errorf("names: %q", got)
	}
	if _, err := s.get(list, named(t, "three")); !errdefs.IsNotFound(err) {
		t.Errorf("an absent entry: %v", err)
	}
	broken := filepath.Join(s.folder(list), "docker.io_library_one-latest")
	if err := os.WriteFile(broken, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.list(list); err == nil || !strings.Contains(err.Error(), broken) {
		t.Errorf("a broken entry: %v", err)
	}
	if err := s.remove(list); err != nil {
		t.Fatal(err)
	}
	if files, _ := os.ReadDir(s.dir); len(files) != 0 {
		t.Errorf("left: %v", files)
	}
}

func TestListOf(t *testing.T) {
	oci := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: "sha256:01", Size: 1, Platform: &ocispec.Platform{OS: "linux", Architecture: "arm", Variant: "v7"}}
	bare := oci
	bare.Platform, bare.MediaType = nil, dockerManifest
	target := named(t, "r:5000/l")
	kind, text, err := listOf(target, []entry{{Ref: "r:5000/a:1", Descriptor: oci}}, true)
	if err != nil || kind != ocispec.MediaTypeImageIndex || !strings.Contains(string(text), "\"size\": 1,\n         \"digest\": \"sha256:01\"") {
		t.Errorf("%s %s %v", kind, text, err)
	}
	if _, _, err := listOf(target, []entry{{Ref: "r:5000/a:1", Descriptor: bare}}, true); err == nil || !strings.Contains(err.Error(), "must have an OS and Architecture") {
		t.Errorf("without a platform: %v", err)
	}
	if kind, _, err := listOf(target, []entry{{Ref: "r:5000/a:1", Descriptor: bare}}, false); err != nil || kind != dockerList {
		t.Errorf("to be looked at: %s %v", kind, err)
	}
	if _, _, err := listOf(target, []entry{{Ref: "docker.io/library/a:1", Descriptor: oci}}, false); err == nil || !strings.Contains(err.Error(), "docker.io != r:5000") {
		t.Errorf("another registry: %v", err)
	}
}

func TestAnnotated(t *testing.T) {
	old := &ocispec.Platform{OS: "linux", Architecture: "arm64", OSFeatures: []string{"a"}}
	got, err := annotated(old, ocispec.Platform{Variant: "v8", OSFeatures: []string{"a", "b"}})
	if err != nil || got.OS != "linux" || got.Variant != "v8" || !slices.Equal(got.OSFeatures, []string{"a", "b"}) || len(old.OSFeatures) != 1 {
		t.Errorf("%+v %v", got, err)
	}
	for _, p := range []ocispec.Platform{{}, {OS: "linux"}, {Architecture: "amd64"}, {OS: "linux", Architecture: "nope"}, {OS: "windows", Architecture: "s390x"}} {
		if _, err := annotated(nil, p); err == nil {
			t.Errorf("%+v was taken", p)
		}
	}
	if _, err := (&entry{Ref: "x"}).document(); err == nil || errors.Is(err, errdefs.ErrNotFound) {
		t.Errorf("an entry without a manifest: %v", err)
	}
}
