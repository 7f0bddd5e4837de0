package result

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/moby/buildkit/exporter/containerimage/exptypes"

	"github.com/cove-containers/cove/image"
	"github.com/cove-containers/cove/layer"
)

// build3 makes an image of three new layers on busybox.
func build3(h *house) (layer.Pile, *image.Image, Result) {
	base, img := h.busybox()
	p := h.build("one", base, "f etc/one 1")
	p = h.build("two", p)
	p = h.build("three", p, "d opt", "f opt/x 2", "rm bin/wget")
	return p, img, h.of(p, img, "RUN one", "-ENV a=1", "RUN two", "COPY x", "-LABEL l=1")
}

// TestSameTwice: two data roots, some time apart, give the same image.
func TestSameTwice(t *testing.T) {
	digests := map[string]bool{}
	for range 2 {
		h := newHouse(t)
		_, _, r := build3(h)
		out, err := h.export(Moby, r, "name=made:1")
		must(t, err)
		digests[out[exptypes.ExporterImageDigestKey]] = true
		time.Sleep(1100 * time.Millisecond)
		again, err := h.export(Moby, r, "name=made:2")
		must(t, err)
		if out[exptypes.ExporterImageDigestKey] != again[exptypes.ExporterImageDigestKey] {
			t.Errorf("exported again it is another image: %v, %v", out, again)
		}
	}
	if len(digests) != 1 {
		t.Errorf("not the same: %v", digests)
	}
}

func TestImage(t *testing.T) {
	h := newHouse(t)
	p, base, r := build3(h)
	before := h.count()
	out, err := h.export(Moby, r, "name=made,other:x")
	must(t, err)
	if out[exptypes.ExporterImageNameKey] != "docker.io/library/made:latest,docker.io/library/other:x" || out[exptypes.ExporterImageConfigDigestKey] != "" {
		t.Errorf("response %v", out)
	}
	img, err := h.Images.Get(context.Background(), "made", nil)
	must(t, err)
	if img.ID.String() != out[exptypes.ExporterImageDigestKey] || len(img.RepoTags) != 2 {
		t.Errorf("image %s", pretty(img))
	}
	for i, l := range base.Layers {
		if img.Layers[i].Digest != l.Digest || img.DiffIDs[i] != base.DiffIDs[i] {
			t.Errorf("the layers of the base are not its own: %s", pretty(img.Layers))
		}
	}
	if len(img.DiffIDs) != len(p) {
		t.Errorf("%d layers, want %d", len(img.DiffIDs), len(p))
	}
	layers := 0
	for _, entry := range img.Config.History {
		if entry.Created == nil {
			t.Errorf("an entry without a time: %s", pretty(entry))
		}
		if !entry.EmptyLayer {
			layers++
		}
	}
	if layers != len(p) || len(img.Config.History) != len(base.Config.History)+5 {
		t.Errorf("history %s", pretty(img.Config.History))
	}
	if img.Config.Created == nil || img.Config.Created.After(time.Now().Add(-time.Hour)) || img.Config.Created.Before(*base.Config.Created) {
		t.Errorf("created %v, the base %v", img.Config.Created, base.Config.Created)
	}
	// Three blobs of layers, one config, one manifest.
	if got := h.count() - before; got != 5 {
		t.Errorf("%d new blobs", got)
	}
	must(t, h.Images.Unpacked(context.Background(), img))
	if _, err := h.Images.Sweep(context.Background()); err != nil {
		t.Error(err)
	}
	found, err := h.Layers.Check(context.Background(), true)
	must(t, err)
	if len(found.Faults) > 0 {
		t.Errorf("layers: %s", pretty(found))
	}
}

// TestEpoch is DF-16.
func TestEpoch(t *testing.T) {
	h := newHouse(t)
	_, base, r := build3(h)
	out, err := h.export(Image, r, "name=e:1", "source-date-epoch=1700000000", "unpack=true")
	must(t, err)
	want := time.Unix(1700000000, 0).UTC()
	check := func(name string) {
		t.Helper()
		c := h.config(name)
		if !c.Created.Equal(want) {
			t.Errorf("created %v", c.Created)
		}
		for i, entry := range c.History {
			if i < len(base.Config.History) {
				if !entry.Created.Equal(*base.Config.History[i].Created) {
					t.Errorf("the base's history: %v", entry)
				}
			} else if !entry.Created.Equal(want) {
				t.Errorf("entry %v", entry)
			}
		}
	}
	check("e:1")
	r.Metadata["source.date.epoch"] = []byte("1700000000")
	second, err := h.export(Image, r, "name=e:2")
	must(t, err)
	if second[exptypes.ExporterImageDigestKey] != out[exptypes.ExporterImageDigestKey] {
		t.Error("the epoch of the front end is another one than that of the exporter")
	}
	r.Metadata["source.date.epoch"] = []byte("1000000000") // older than anything here
	third, err := h.export(Image, r, "name=e:3", "rewrite-timestamp=true", "unpack=true")
	must(t, err)
	if third[exptypes.ExporterImageDigestKey] == second[exptypes.ExporterImageDigestKey] {
		t.Error("no time was rewritten")
	}
	if c := h.config("e:3"); c.Created.Unix() != 1000000000 {
		t.Errorf("created %v", c.Created)
	}
}

func TestSquash(t *testing.T) {
	h := newHouse(t)
	_, base, r := build3(h)
	_, err := h.export(Moby, r, "name=s", "squash=true")
	must(t, err)
	c := h.config("s")
	if len(c.RootFS.DiffIDs) != len(base.DiffIDs)+1 {
		t.Errorf("%d layers", len(c.RootFS.DiffIDs))
	}
	if last := c.History[len(c.History)-1]; last.EmptyLayer || last.Comment == "" {
		t.Errorf("history %s", pretty(c.History))
	}
}

func TestNothing(t *testing.T) {
	h := newHouse(t)
	out, err := h.export(Moby, h.of(nil, nil, "-CMD [\"/x\"]"))
	must(t, err)
	c := h.config(out[exptypes.ExporterImageDigestKey])
	if c.RootFS.DiffIDs == nil || len(c.RootFS.DiffIDs) != 0 || len(c.History) != 1 || !c.History[0].EmptyLayer {
		t.Errorf("%s", pretty(c))
	}
	if _, err := h.export("nonsense", Result{}); err == nil || !strings.Contains(err.Error(), `exporter "nonsense" could not be found`) {
		t.Error(err)
	}
	for _, attr := range []string{"push=maybe", "compression=estargz", "compression-level=11", "source-date-epoch=yesterday", "annotation-x.y=z"} {
		if _, err := h.export(Image, h.of(nil, nil), attr); err == nil {
			t.Errorf("%s is taken", attr)
		}
	}
}

// TestCompressions: each is told by its media type, and the same content has the same diff IDs.
func TestCompressions(t *testing.T) {
	h := newHouse(t)
	_, _, r := build3(h)
	unasked := func(name string) string {
		_, err := h.export(Image, r, "name="+name)
		must(t, err)
		img, err := h.Images.Get(context.Background(), name, nil)
		must(t, err)
		return img.ID.String()
	}
	before := unasked("c:before")
	var plain string
	for name, attrs := range map[string][]string{
		"c:gzip":  {"compression=gzip", "compression-level=9", "force-compression=true"},
		"c:zstd":  {"compression=zstd", "force-compression=true"},
		"c:plain": {"compression=uncompressed", "force-compression=true"},
	} {
		_, err := h.export(Image, r, append(attrs, "name="+name)...)
		must(t, err)
		img, err := h.Images.Get(context.Background(), name, nil)
		must(t, err)
		ids := pretty(img.DiffIDs)
		if plain == "" {
			plain = ids
		}
		if ids != plain {
			t.Errorf("%s: other diff IDs", name)
		}
		for i, l := range img.Layers {
			kind := strings.TrimPrefix(name, "c:")
			if kind == "plain" {
				kind = "tar"
			}
			if !strings.HasSuffix(l.MediaType, kind) {
				t.Errorf("%s: layer %d is %s", name, i, l.MediaType)
			}
		}
		// Who asks for nothing gets what they got, whatever the layers have been compressed to meanwhile.
		if after := unasked("c:after"); after != before {
			t.Errorf("after %s the same image is %s, not %s", name, after, before)
		}
	}
}
