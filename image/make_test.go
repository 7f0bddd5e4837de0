package image

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cove-containers/cove/oci"
	"github.com/cove-containers/cove/ref"
)

// oneFile writes a layer of one file.
func oneFile(name string) func(context.Context, io.Writer) error {
	return func(_ context.Context, w io.Writer) error {
		t := tar.NewWriter(w)
		err := t.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: 1})
		if err == nil {
			_, err = t.Write([]byte("x"))
		}
		return errors.Join(err, t.Close())
	}
}

func noFile(_ context.Context, w io.Writer) error { return tar.NewWriter(w).Close() }

func named(t *testing.T, name string) ref.Name {
	t.Helper()
	n, err := ref.ParseTagged(name)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestMake(t *testing.T) {
	b := open(t)
	ctx := t.Context()
	b.mustLoad(archived(t, "L; f a 1", "base:1"))
	base, err := b.Get(ctx, "base:1", nil)
	if err != nil {
		t.Fatal(err)
	}
	config := oci.Image{Image: ocispec.Image{Platform: base.Config.Platform}}
	config.Config.Cmd = []string{"new"}
	step := ocispec.History{Comment: "made here"}
	id, err := b.Make(ctx, Made{Base: &base.Manifest, Config: config, Step: step, Layer: oneFile("b"), Name: named(t, "made:1")})
	if err != nil {
		t.Fatal(err)
	}
	img, err := b.Get(ctx, "made:1", nil)
	if err != nil || img.ID != id || len(img.DiffIDs) != 2 || img.DiffIDs[0] != base.DiffIDs[0] || img.Config.Config.Cmd[0] != "new" {
		t.Fatalf("%+v, %v", img, err)
	}
	if n := len(img.Config.History); n != len(base.Config.History)+1 || img.Config.History[n-1].Comment != "made here" || img.Config.History[n-1].EmptyLayer {
		t.Errorf("history %+v", img.Config.History)
	}
	if !b.trees.Has(img.DiffIDs[1]) {
		t.Error("the new layer is not unpacked")
	}
	again, err := b.Make(ctx, Made{Base: &base.Manifest, Config: config, Step: step, Layer: oneFile("b")})
	if err != nil || again != id {
		t.Errorf("made again it is %s, %v, not %s", again, err, id)
	}

	// Nothing new is no layer; and it may be made on top of one that has lost its name.
	if _, err := b.Remove(ctx, "base:1", RemoveOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err = b.Make(ctx, Made{Base: &img.Manifest, Config: config, Step: step, Layer: noFile, Name: named(t, "made:2")}); err != nil {
		t.Fatal(err)
	}
	two, err := b.Get(ctx, "made:2", nil)
	if err != nil || len(two.DiffIDs) != 2 || !two.Config.History[len(two.Config.History)-1].EmptyLayer {
		t.Errorf("%+v, %v", two, err)
	}
	only, err := b.Make(ctx, Made{Config: config, Step: step, Layer: noFile})
	if err != nil {
		t.Fatal(err)
	}
	if none, err := b.Get(ctx, only.String(), nil); err != nil || len(none.DiffIDs) != 0 {
		t.Errorf("an image without a layer: %+v, %v", none, err)
	}

	// A base as old registries have it gets today's words for its layers.
	docker, err := b.putDocument(ocispec.Manifest{
		MediaType: oci.DockerManifest, Versioned: two.manifestOf(t, b).Versioned, Config: two.manifestOf(t, b).Config,
		Layers: []ocispec.Descriptor{
			{MediaType: oci.DockerLayer, Digest: two.Layers[0].Digest, Size: two.Layers[0].Size},
			{MediaType: oci.DockerLayer + ".gzip", Digest: two.Layers[1].Digest, Size: two.Layers[1].Size},
		},
	}, oci.DockerManifest, b.Lease())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Make(ctx, Made{Base: &docker, Config: config, Step: step, Layer: oneFile("c"), Name: named(t, "made:3")}); err != nil {
		t.Fatal(err)
	}
	three, err := b.Get(ctx, "made:3", nil)
	if err != nil || three.Layers[0].MediaType != ocispec.MediaTypeImageLayer || three.Layers[1].MediaType != ocispec.MediaTypeImageLayerGzip {
		t.Errorf("%+v, %v", three.Layers, err)
	}
}

// manifestOf reads the manifest of an image.
func (i *Image) manifestOf(t *testing.T, b *bench) ocispec.Manifest {
	t.Helper()
	doc, err := b.document(i.Manifest)
	if err != nil {
		t.Fatal(err)
	}
	return *doc.Manifest
}

// TestMakeFails leaves nothing of an image that could not be made, whichever step fails.
func TestMakeFails(t *testing.T) {
	b := open(t)
	broken := errors.New("broken")
	for name, layer := range map[string]func(context.Context, io.Writer) error{
		"half a layer": func(ctx context.Context, w io.Writer) error {
			w.Write(make([]byte, 3<<20))
			return broken
		},
		"no archive": func(_ context.Context, w io.Writer) error {
			_, err := w.Write(make([]byte, 700))
			return err
		},
		"refused": oneFile(".wh.."),
	} {
		_, err := b.Make(t.Context(), Made{Layer: layer, Name: named(t, "x")})
		if err == nil || name == "half a layer" && !errors.Is(err, broken) {
			t.Errorf("%s: %v", name, err)
		}
	}
	gone := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: emptyTar, Size: 1}
	if _, err := b.Make(t.Context(), Made{Base: &gone, Layer: oneFile("a")}); !errdefs.IsNotFound(err) {
		t.Errorf("on an image that is gone: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	_, err := b.Make(ctx, Made{Layer: func(ctx context.Context, w io.Writer) error { cancel(); return context.Cause(ctx) }})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("given up: %v", err)
	}
	b.empty()
}

// TestMakeDuringSweep sweeps while an image is made: what it consists of stays.
func TestMakeDuringSweep(t *testing.T) {
	b := open(t)
	ctx, stop := context.WithCancel(t.Context())
	swept := make(chan int, 1)
	go func() {
		n := 0
		for ; ctx.Err() == nil; n++ {
			if _, err := b.Sweep(context.Background()); err != nil {
				t.Error(err)
			}
		}
		swept <- n
	}()
	for deadline := time.Now().Add(time.Second); time.Now().Before(deadline); {
		if _, err := b.Make(t.Context(), Made{Layer: oneFile("a"), Name: named(t, "x")}); err != nil {
			t.Fatal(err)
		}
		img, err := b.Get(t.Context(), "x", nil)
		if err != nil || !b.blobs.Has(img.Layers[0].Digest) || !b.trees.Has(img.DiffIDs[0]) {
			t.Fatalf("half of it was swept: %v", err)
		}
		if _, err := b.Remove(t.Context(), "x", RemoveOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	if n := <-swept; n < 3 {
		t.Errorf("swept %d times only", n)
	}
	if _, err := b.Sweep(t.Context()); err != nil {
		t.Error(err)
	}
	b.empty()
}
