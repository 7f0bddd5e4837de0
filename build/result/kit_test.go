package result

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cove-containers/cove/blob"
	"github.com/cove-containers/cove/build/step"
	"github.com/cove-containers/cove/image"
	"github.com/cove-containers/cove/layer"
	"github.com/cove-containers/cove/oci"
	"github.com/cove-containers/cove/remote"
	"github.com/cove-containers/cove/state"
	"github.com/cove-containers/cove/testkit"
)

// house is a data root with what exporters work with.
type house struct {
	*Exporters
	t    *testing.T
	root string
	env  *step.Env
	said []string
	held map[string]bool // what the build cache would hold
}

func newHouse(t *testing.T) *house {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("mounts overlays: needs root")
	}
	root := t.TempDir()
	db, err := state.Open(filepath.Join(root, "cove.db"))
	must(t, err)
	t.Cleanup(func() { db.Close() })
	blobs, err := blob.Open(root)
	must(t, err)
	layers, err := layer.Open(filepath.Join(root, "layers"), db)
	must(t, err)
	reg, err := remote.New(remote.Config{})
	must(t, err)
	images, err := image.Open(db, blobs, reg, layers, nil)
	must(t, err)
	t.Cleanup(func() { images.Close() })
	images.SetUsers(func() []image.User { return nil })
	x, err := New(Parts{Images: images, Layers: layers, Blobs: blobs, DB: db})
	must(t, err)
	h := &house{Exporters: x, t: t, root: root, held: map[string]bool{}}
	images.SetHeld(func(name string) bool { return h.held[name] })
	h.env = &step.Env{Progress: func(s step.Status) { h.said = append(h.said, s.ID) }, Warn: func(short, _ string, _ ...string) { h.said = append(h.said, short) }}
	return h
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// busybox loads the image and tells its layers.
func (h *house) busybox() (layer.Pile, *image.Image) {
	h.t.Helper()
	dir, err := testkit.Images("../..")
	if err != nil {
		h.t.Skip(err)
	}
	f, err := os.Open(filepath.Join(dir, "busybox.tar"))
	must(h.t, err)
	defer f.Close()
	must(h.t, h.Images.Load(context.Background(), f, image.LoadOptions{Quiet: true}))
	img, err := h.Images.Get(context.Background(), "busybox", nil)
	must(h.t, err)
	return layer.Images(img.DiffIDs), img
}

// build makes a layer on a pile; items are "f PATH TEXT", "d PATH", "rm PATH".
func (h *house) build(name string, below layer.Pile, items ...string) layer.Pile {
	h.t.Helper()
	ctx := context.Background()
	must(h.t, h.Layers.Build(ctx, name, below))
	r, err := h.Layers.Root(ctx, name)
	must(h.t, err)
	at := fmt.Sprintf("/proc/self/fd/%d/", r.Dir.Fd())
	for _, item := range items {
		words := strings.Fields(item)
		switch words[0] {
		case "f":
			err = os.WriteFile(at+words[1], []byte(words[2]), 0o644)
		case "d":
			err = os.Mkdir(at+words[1], 0o755)
		case "rm":
			err = os.RemoveAll(at + words[1])
		}
		must(h.t, err)
	}
	must(h.t, r.Close())
	_, err = h.Layers.Seal(ctx, name)
	must(h.t, err)
	p := append(append(layer.Pile{}, below...), name)
	for _, name := range p {
		h.held[name] = true
	}
	return p
}

// of makes a result of a pile, as the Dockerfile front end does; history are instructions, those that begin with "-" leave no layer.
func (h *house) of(p layer.Pile, base *image.Image, history ...string) Result {
	img := oci.Image{}
	img.Platform = oci.Host()
	meta := map[string][]byte{}
	if base != nil {
		img = base.Config
		body, err := json.Marshal(base.Config)
		must(h.t, err)
		meta[exptypes.ExporterImageBaseConfigKey] = body
		img.Created = nil
	}
	for _, by := range history {
		cut, empty := strings.CutPrefix(by, "-")
		img.History = append(img.History, ocispec.History{CreatedBy: cut, EmptyLayer: empty, Comment: "buildkit.dockerfile.v0"})
	}
	body, err := json.Marshal(img)
	must(h.t, err)
	meta[exptypes.ExporterImageConfigKey] = body
	return Result{Refs: map[string]step.Ref{"": {Pile: p}}, Metadata: meta}
}

// export brings a result to an exporter.
func (h *house) export(kind string, r Result, attrs ...string) (map[string]string, error) {
	h.t.Helper()
	m := map[string]string{}
	for _, a := range attrs {
		k, v, _ := strings.Cut(a, "=")
		m[k] = v
	}
	target, err := h.Target(0, kind, m)
	if err != nil {
		return nil, err
	}
	return target.Export(context.Background(), h.env, r)
}

// config reads the config of an image in the store.
func (h *house) config(name string) oci.Image {
	h.t.Helper()
	img, err := h.Images.Get(context.Background(), name, nil)
	must(h.t, err)
	return img.Config
}

// blobs counts the files in the blob store.
func (h *house) count() int {
	all, err := h.Blobs.List()
	must(h.t, err)
	return len(all)
}

func pretty(v any) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetIndent("", " ")
	_ = e.Encode(v)
	return b.String()
}
