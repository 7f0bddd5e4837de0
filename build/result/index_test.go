package result

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cove-containers/cove/build/attest"
	"github.com/cove-containers/cove/build/step"
	"github.com/cove-containers/cove/layer"
	"github.com/cove-containers/cove/oci"
	"github.com/cove-containers/cove/testkit"
)

// two makes a result for two platforms, with an attestation for each.
func (h *house) two() Result {
	base, img := h.busybox()
	one := h.of(h.build("amd", base, "f a 1"), img, "RUN a")
	p := h.build("arm", layer.Pile{}, "f b 2")
	r := Result{Refs: map[string]step.Ref{}, Metadata: map[string][]byte{}, Attestations: map[string][]attest.Attestation{}}
	r.Refs["linux/amd64"], r.Refs["linux/arm64"] = one.Refs[""], step.Ref{Pile: p}
	for k, v := range one.Metadata {
		r.Metadata[k+"/linux/amd64"] = v
	}
	foreign := oci.Image{}
	foreign.Platform = ocispec.Platform{OS: "linux", Architecture: "arm64"}
	body, err := json.Marshal(foreign)
	must(h.t, err)
	r.Metadata[exptypes.ExporterImageConfigKey+"/linux/arm64"] = body
	var ps exptypes.Platforms
	for _, id := range []string{"linux/amd64", "linux/arm64"} {
		p, err := oci.ParsePlatform(id)
		must(h.t, err)
		ps.Platforms = append(ps.Platforms, exptypes.Platform{ID: id, Platform: p})
		r.Attestations[id] = []attest.Attestation{
			{Predicate: "https://example.com/about", Path: "about.json", Content: func(context.Context) ([]byte, error) { return []byte(`{"id":"` + id + `"}`), nil }},
			{Predicate: "https://example.com/inline", Path: "inline.json", InlineOnly: true, Content: func(context.Context) ([]byte, error) { return []byte(`{}`), nil }},
		}
	}
	r.Metadata[exptypes.ExporterPlatformsKey], err = json.Marshal(ps)
	must(h.t, err)
	return r
}

func TestIndex(t *testing.T) {
	h := newHouse(t)
	r := h.two()
	out, err := h.export(Moby, r, "name=multi", "annotation-index.a=b", "annotation.c=d", "annotation[linux/arm64].c=e", "annotation-manifest-descriptor.f=g")
	must(t, err)
	body, err := h.Blobs.Read(digestOf(out), oci.MaxDocument)
	must(t, err)
	doc, err := oci.Parse("", body)
	must(t, err)
	if doc.Index == nil || len(doc.Index.Manifests) != 4 || doc.Index.Annotations["a"] != "b" {
		t.Fatalf("%s", body)
	}
	for i, want := range []string{"linux/amd64", "linux/arm64", "unknown/unknown", "unknown/unknown"} {
		d := doc.Index.Manifests[i]
		if got := oci.FormatPlatform(*d.Platform); got != want {
			t.Errorf("entry %d is for %s", i, got)
		}
		if i < 2 && d.Annotations["f"] != "g" {
			t.Errorf("entry %d: %v", i, d.Annotations)
		}
		body, err := h.Blobs.Read(d.Digest, oci.MaxDocument)
		must(t, err)
		var m ocispec.Manifest
		must(t, json.Unmarshal(body, &m))
		if i < 2 {
			if got := m.Annotations["c"]; got != []string{"d", "e"}[i] {
				t.Errorf("manifest %d: annotation %q", i, got)
			}
			continue
		}
		if d.Annotations[oci.AttestationFor] != doc.Index.Manifests[i-2].Digest.String() || m.Subject == nil || len(m.Layers) != 2 || m.ArtifactType != attestationType {
			t.Errorf("attestation %d: %s", i, pretty(m))
		}
		if statement, err := h.Blobs.Read(m.Layers[0].Digest, oci.MaxDocument); err != nil || !strings.Contains(string(statement), "pkg:docker/multi@latest?platform=linux%2F") {
			t.Errorf("statement %s, %v", statement, err)
		}
	}
	if img, err := h.Images.Get(context.Background(), "multi", nil); err != nil || img.Config.Architecture != "amd64" {
		t.Error(err)
	}
	if _, err := h.export(Docker, r); err == nil || !strings.Contains(err.Error(), "does not currently support exporting manifest lists") {
		t.Error(err)
	}
	for _, attr := range []string{"annotation[linux/s390x].x=y", "oci-mediatypes=false"} {
		if _, err := h.export(Image, r, attr); err == nil {
			t.Errorf("%s is taken", attr)
		}
	}
}

// TestPush: what is pushed is what is stored, whole, and can be pulled; with store=false nothing stays here.
func TestPush(t *testing.T) {
	reg, err := testkit.NewRegistry("127.0.0.1:0", testkit.Faults{}, nil)
	must(t, err)
	defer reg.Close()
	h := newHouse(t)
	r := h.two()
	before := h.count()
	name := reg.Host() + "/multi:1"
	out, err := h.export(Image, r, "name="+name, "push=true", "store=false")
	must(t, err)
	if len(reg.Manifest("multi", "1")) == 0 {
		t.Error("nothing is in the registry")
	}
	if n := h.count(); n != before {
		t.Errorf("%d blobs are left", n-before)
	}
	by, err := h.export(Image, r, "name="+reg.Host()+"/multi", "push=true", "push-by-digest=true", "name-canonical=true")
	must(t, err)
	if len(reg.Manifest("multi", digestOf(by).String())) == 0 {
		t.Errorf("not pushed by its digest: %v", by)
	}
	if digestOf(out) == "" {
		t.Errorf("response %v", out)
	}
	if _, err := h.export(Image, r, "push=true"); err == nil || !strings.Contains(err.Error(), "tag is needed") {
		t.Error(err)
	}
}

// TestFailure: an export that fails or is cancelled at any of its steps leaves no blob, and the name where it was.
func TestFailure(t *testing.T) {
	h := newHouse(t)
	_, base, r := build3(h)
	old, err := h.export(Moby, h.of(layer.Images(base.DiffIDs), base), "name=kept")
	must(t, err)
	before := h.count()
	for n := range 40 {
		ctx, cancel := context.WithCancelCause(context.Background())
		left := n
		env := *h.env
		env.Progress = func(step.Status) {
			if left--; left == 0 {
				cancel(fmt.Errorf("cancelled: %w", io.ErrUnexpectedEOF))
			}
		}
		target, err := h.Target(0, Moby, map[string]string{"name": "kept"})
		must(t, err)
		if n == 0 {
			cancel(io.ErrUnexpectedEOF)
		}
		_, err = target.Export(ctx, &env, r)
		cancel(nil)
		if err == nil {
			if n < 4 {
				t.Errorf("not cancelled at step %d", n)
			}
			return // nothing was left to be cancelled
		}
		if img, err := h.Images.Get(context.Background(), "kept", nil); err != nil || img.ID != digestOf(old) {
			t.Fatalf("after %d steps the name points elsewhere: %v", n, err)
		}
		if got := h.count(); got != before {
			t.Fatalf("after %d steps %d blobs are left", n, got-before)
		}
	}
	t.Error("it never ended")
}

func digestOf(response map[string]string) (d digest.Digest) {
	return digest.Digest(response[exptypes.ExporterImageDigestKey])
}

// TestInline: what an image carries of the cache is in its config, and part of its digest.
func TestInline(t *testing.T) {
	h := newHouse(t)
	p, _, r := build3(h)
	var seen []string
	r.Inline = func(_ context.Context, _ string, layers []Layer) ([]byte, error) {
		for _, l := range layers {
			seen = append(seen, l.Name)
		}
		return []byte(`{"records":[]}`), nil
	}
	out, err := h.export(Moby, r)
	must(t, err)
	img, err := h.Images.Get(context.Background(), string(digestOf(out)), nil)
	must(t, err)
	config, err := h.Images.ConfigOf(img)
	must(t, err)
	keys := map[string]json.RawMessage{}
	must(t, json.Unmarshal(config, &keys))
	if _, there := keys["moby.buildkit.cache.v0"]; !there || !slices.Equal(seen, p) {
		t.Errorf("keys %v, layers %v", slices.Collect(maps.Keys(keys)), seen)
	}
}
