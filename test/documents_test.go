package test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cove-containers/cove/testkit"
)

func openRegistry(t *testing.T, f testkit.Faults) *testkit.Registry {
	t.Helper()
	r, err := testkit.NewRegistry("127.0.0.1:0", f, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

// on crafts an image that lies on busybox, so that it can run something.
func on(t *testing.T, recipe string) *testkit.Image {
	t.Helper()
	im, err := testkit.Craft(recipe, busybox(t))
	if err != nil {
		t.Fatal(err)
	}
	return im
}

func entry(im *testkit.Image, platform string) ocispec.Descriptor {
	d := ocispec.Descriptor{MediaType: im.MediaType, Digest: digest.FromBytes(im.Manifest), Size: int64(len(im.Manifest))}
	if system, machine, ok := strings.Cut(platform, "/"); ok {
		d.Platform = &ocispec.Platform{OS: system, Architecture: machine}
	}
	return d
}

func indexOf(t *testing.T, entries ...ocispec.Descriptor) []byte {
	t.Helper()
	body, err := json.Marshal(ocispec.Index{MediaType: ocispec.MediaTypeImageIndex, Manifests: entries})
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Replace(body, []byte(`"schemaVersion":0`), []byte(`"schemaVersion":2`), 1)
}

// layerReads counts the downloads of an image's layers.
func layerReads(r *testkit.Registry, images ...*testkit.Image) int {
	n := 0
	for _, q := range r.Log() {
		for _, im := range images {
			for _, l := range im.Layers {
				if strings.HasSuffix(q.Path, "/blobs/"+digest.FromBytes(l).String()) {
					n++
				}
			}
		}
	}
	return n
}

// clean fails when the engine keeps anything of a pull: an image, a blob, a layer, a part.
func clean(t *testing.T, e *Engine, after string) {
	t.Helper()
	if out := e.Run("cove", "images", "-aq"); out != "" {
		t.Errorf("%s: images are left: %s", after, out)
	}
	for _, pattern := range []string{"blobs/sha256/*", "ingest/*", "layers/trees/*", "layers/making/*", "layers/gone/*"} {
		if left, _ := filepath.Glob(filepath.Join(e.DataRoot, pattern)); len(left) > 0 {
			t.Errorf("%s: left behind: %v", after, left)
		}
	}
}

// TestIndexWithAttestations: an index that begins with what is no image, and whose images name no platform.
func TestIndexWithAttestations(t *testing.T) {
	needRoot(t)
	images(t)
	r := openRegistry(t, testkit.Faults{})
	attestation := on(t, "L comp=none media=application/vnd.in-toto+json; f statement 1")
	foreign := on(t, "C {\"architecture\":\"arm64\"}\nL; f which arm64")
	ours := on(t, "L; f which amd64")
	for i, im := range []*testkit.Image{attestation, foreign, ours} {
		r.Push("x", fmt.Sprint("part", i), im)
	}
	about := entry(attestation, "unknown/unknown")
	about.Annotations = map[string]string{"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": digest.FromBytes(ours.Manifest).String()}
	index := indexOf(t, about, entry(foreign, ""), entry(ours, ""))
	id := r.PutManifest("x", "1", ocispec.MediaTypeImageIndex, index).String()
	e := newEngine(t)
	e.Start()
	name := r.Host() + "/x:1"
	for _, client := range clients() {
		check := func(when string) {
			t.Helper()
			if got := e.Run(client, "run", "--rm", "--pull", "never", name, "cat", "/which"); got != "amd64" {
				t.Errorf("%s, %s: it is the image for %q", client, when, got)
			}
			if rows := strings.Fields(e.Run(client, "images", "-q", "--no-trunc")); len(rows) != 1 || rows[0] != id {
				t.Errorf("%s, %s: rows of images: %v, want %s alone", client, when, rows, id)
			}
			if left, _ := filepath.Glob(filepath.Join(e.DataRoot, "layers/trees/*")); len(left) != len(ours.Layers) {
				t.Errorf("%s, %s: %d layers unpacked, the image has %d", client, when, len(left), len(ours.Layers))
			}
			if got := e.Run(client, "image", "inspect", "-f", "{{.Id}} {{.Architecture}} {{len .RootFS.Layers}}", name); got != fmt.Sprintf("%s amd64 %d", id, len(ours.Layers)) {
				t.Errorf("%s, %s: inspect says %s", client, when, got)
			}
		}
		e.Run(client, "pull", name)
		check("pulled")
		archive := filepath.Join(e.Dir, client+".tar")
		e.Run(client, "save", "-o", archive, name)
		e.Run(client, "rmi", name)
		if got := e.Run(client, "load", "-i", archive); !strings.Contains(got, name) {
			t.Errorf("%s: load says %q", client, got)
		}
		check("loaded")
		e.Run("sh", "-c", fmt.Sprintf("%s save %s | %s load", client, name, client))
		check("saved and loaded in one")
		e.Run(client, "rmi", name)
		clean(t, e, client+": removed")
	}
}

// TestRefusedPulls: documents that have nothing for this machine, are of no known form, or of two at once. No layer is
// fetched and nothing is kept.
func TestRefusedPulls(t *testing.T) {
	needRoot(t)
	images(t)
	r := openRegistry(t, testkit.Faults{})
	im := on(t, "L; f q 1")
	windows := on(t, "C {\"os\":\"windows\"}\nL; f q 1")
	r.Push("x", "good", im)
	r.Push("x", "windows", windows)
	var both map[string]any
	if err := json.Unmarshal(im.Manifest, &both); err != nil {
		t.Fatal(err)
	}
	delete(both, "mediaType")
	both["manifests"] = []any{entry(im, "linux/amd64")}
	ambiguous, err := json.Marshal(both)
	if err != nil {
		t.Fatal(err)
	}
	const schema1 = "application/vnd.docker.distribution.manifest.v1+prettyjws"
	r.PutManifest("x", "elsewhere", ocispec.MediaTypeImageIndex, indexOf(t, entry(im, "linux/arm64"), entry(windows, "windows/amd64")))
	r.PutManifest("x", "schema1", schema1, []byte(`{"schemaVersion":1,"name":"x","tag":"schema1","architecture":"amd64","fsLayers":[{"blobSum":"`+digest.FromBytes(im.Layers[0]).String()+`"}],"history":[]}`))
	r.PutManifest("x", "both", ocispec.MediaTypeImageManifest, ambiguous)
	r.PutManifest("x", "index", ocispec.MediaTypeImageManifest, indexOf(t, entry(im, "linux/amd64")))
	e := newEngine(t)
	e.Start()
	for _, client := range clients() {
		for tag, words := range map[string]string{
			"elsewhere": "no matching manifest for linux/amd64",
			"windows":   `image operating system "windows" cannot be used on this platform`,
			"schema1":   "schema 1",
			"both":      "ambiguous",
			"index":     "ambiguous",
			"nosuch":    "not found",
		} {
			out, errOut, code := e.Try(client, "pull", r.Host()+"/x:"+tag)
			if code != 1 || !strings.Contains(errOut, words) {
				t.Errorf("%s pull %s: status %d, %s%s, want %q", client, tag, code, out, errOut, words)
			}
			clean(t, e, client+" pull "+tag)
		}
	}
	if n := layerReads(r, im, windows); n != 0 {
		t.Errorf("%d layers were fetched", n)
	}
}

// TestLyingRegistry: sizes and digests that do not hold. The digest is named, nothing is kept, and the next good pull works.
func TestLyingRegistry(t *testing.T) {
	needRoot(t)
	images(t)
	r := openRegistry(t, testkit.Faults{})
	e := newEngine(t)
	e.Start()
	im := on(t, "L; f q 1")
	layer, manifest := im.Layers[len(im.Layers)-1], digest.FromBytes(im.Manifest)
	swapped := bytes.Clone(layer)
	swapped[len(swapped)-1] ^= 1
	layerID := digest.FromBytes(layer).String()
	for _, client := range clients() {
		refused := func(what, reference, word string) {
			t.Helper()
			if out, errOut, code := e.Try(client, "pull", r.Host()+reference); code != 1 || !strings.Contains(out+errOut, word) {
				t.Errorf("%s, %s: status %d, %s%s, want %q", client, what, code, out, errOut, word)
			}
			clean(t, e, client+", "+what)
		}
		r.Push("x", "1", on(t, "L size=+1; f q 1"))
		refused("a larger size", "/x:1", layerID)
		r.Push("x", "1", on(t, "L size=-1; f q 1"))
		refused("a smaller size", "/x:1", layerID)
		r.Push("x", "1", im)
		r.Faults.Swap = map[digest.Digest][]byte{digest.Digest(layerID): swapped}
		refused("other bytes", "/x:1", layerID)
		r.Faults.Swap = map[digest.Digest][]byte{manifest: on(t, "L; f q 9").Manifest}
		refused("another manifest", "/x@"+manifest.String(), manifest.String())
		r.Faults.Swap = nil
		if got := e.Run(client, "run", "--rm", r.Host()+"/x:1", "cat", "/q"); got != "1" {
			t.Errorf("%s: a good pull gives %q", client, got)
		}
		e.Run(client, "rmi", r.Host()+"/x:1")
		clean(t, e, client+", all removed")
	}
}
