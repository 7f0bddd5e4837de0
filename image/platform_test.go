package image

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cove-containers/cove/testkit"
)

// multiPlatform is the real busybox, for two platforms.
func multiPlatform(t *testing.T) []byte {
	t.Helper()
	dir, err := testkit.Images("..")
	if err != nil {
		t.Skip(err)
	}
	raw, err := os.ReadFile(filepath.Join(dir, "busybox.tar"))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestSaveAndLoadPlatforms(t *testing.T) {
	archive := multiPlatform(t)
	b := open(t)
	b.mustLoad(archive)
	arm := ocispec.Platform{OS: "linux", Architecture: "arm64", Variant: "v8"}
	if img, err := b.Get(t.Context(), "busybox", &arm); err != nil || img.Config.Architecture != "arm64" {
		t.Fatalf("the other platform: %v", err)
	}
	var only bytes.Buffer
	if err := b.Save(t.Context(), []string{"busybox"}, []ocispec.Platform{arm}, &only); err != nil {
		t.Fatal(err)
	}
	if only.Len() > len(archive)*2/3 {
		t.Errorf("one of two platforms takes %d of %d bytes", only.Len(), len(archive))
	}
	other := open(t)
	other.mustLoad(only.Bytes())
	img := other.get("busybox")
	if img.Config.Architecture != "arm64" || img.ID != img.Manifest.Digest {
		t.Errorf("loaded %s %s", img.Config.Architecture, img.ID)
	}
	amd := ocispec.Platform{OS: "linux", Architecture: "amd64"}
	mention(t, other.Save(t.Context(), []string{"busybox"}, []ocispec.Platform{amd}, io.Discard), "linux/amd64")
	err := open(t).Load(t.Context(), bytes.NewReader(only.Bytes()), LoadOptions{Platforms: []ocispec.Platform{amd}})
	mention(t, err, "does not provide the specified platform (linux/amd64)")
}

// TestLoadPartOfAnIndex takes an archive whose index names content that is not in it.
func TestLoadPartOfAnIndex(t *testing.T) {
	archive := multiPlatform(t)
	whole := open(t)
	whole.mustLoad(archive)
	arm := ocispec.Platform{OS: "linux", Architecture: "arm64"}
	foreign, err := whole.Get(t.Context(), "busybox", &arm)
	if err != nil {
		t.Fatal(err)
	}
	var part bytes.Buffer
	w := tar.NewWriter(&part)
	for r := tar.NewReader(bytes.NewReader(archive)); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(h.Name, foreign.Manifest.Digest.Encoded()) || strings.Contains(h.Name, foreign.Layers[0].Digest.Encoded()) {
			continue
		}
		w.WriteHeader(h)
		io.Copy(w, r)
	}
	w.Close()
	b := open(t)
	b.mustLoad(part.Bytes())
	if img := b.get("busybox"); img.ID != foreign.ID {
		t.Errorf("ID %s, want that of the index", img.ID)
	}
	_, err = b.Get(t.Context(), "busybox", &arm)
	mention(t, err, "does not provide the specified platform (linux/arm64)")
	again := open(t)
	if said := again.mustLoad(save(t, b, "busybox")); said != "Loaded image: busybox:latest\n" {
		t.Errorf("load says %q", said)
	}
}
