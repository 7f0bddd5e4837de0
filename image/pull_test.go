package image

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cove-containers/cove/oci"
	"github.com/cove-containers/cove/testkit"
)

func TestPull(t *testing.T) {
	b, r := open(t), registry(t, testkit.Faults{})
	im := craft(t, "L;d a;f a/x 1;L comp=zstd2;f b 2;L comp=gzip2 rawpad=512;f c 3;L comp=none pad=1048576;f d 4")
	want := r.Push("x", "1", im)
	img, said, err := b.pull(r.Host() + "/x:1")
	if err != nil {
		t.Fatal(err)
	}
	if img.ID != want || len(img.DiffIDs) != 4 || img.RepoTags[0] != r.Host()+"/x:1" || img.RepoDigests[0] != r.Host()+"/x@"+want.String() {
		t.Errorf("pulled %+v", img)
	}
	for _, words := range []string{"1: Pulling from x\n", ": Pulling fs layer\n", ": Download complete\n", ": Pull complete\n",
		"Digest: " + want.String() + "\nStatus: Downloaded newer image for " + r.Host() + "/x:1\n"} {
		if !strings.Contains(said, words) {
			t.Errorf("output lacks %q:\n%s", words, said)
		}
	}
	if n := strings.Count(said, "Pull complete"); n != 4 {
		t.Errorf("%d layers complete:\n%s", n, said)
	}
	_, said, err = b.pull(r.Host() + "/x:1")
	if err != nil || !strings.Contains(said, "Already exists") || !strings.Contains(said, "Status: Image is up to date for "+r.Host()+"/x:1") {
		t.Errorf("second pull: %v\n%s", err, said)
	}
	for _, layer := range im.Layers {
		if n := gets(r, digest.FromBytes(layer)); n != 1 {
			t.Errorf("layer fetched %d times", n)
		}
	}
	b.restart()
	if got, err := b.Get(t.Context(), r.Host()+"/x:1", nil); err != nil || got.ID != want {
		t.Errorf("after restart: %v", err)
	}
}

func TestPullMovesTag(t *testing.T) {
	b, r := open(t), registry(t, testkit.Faults{})
	r.Push("x", "1", craft(t, "L;f a 1"))
	old := b.mustPull(r.Host() + "/x:1")
	r.Push("x", "1", craft(t, "L;f a 2"))
	if img := b.mustPull(r.Host() + "/x:1"); img.ID == old.ID {
		t.Fatal("tag did not move")
	}
	img, err := b.Get(t.Context(), old.ID.String(), nil)
	if err != nil || len(img.RepoTags) != 0 {
		t.Errorf("the old image should stay, dangling: %v %v", img, err)
	}
}

// TestTagAndDigest is case RF-2.
func TestTagAndDigest(t *testing.T) {
	b, r := open(t), registry(t, testkit.Faults{})
	r.Push("x", "1", craft(t, "L;f a 1"))
	d2 := r.Push("x", "2", craft(t, "L;f a 2"))
	for _, tag := range []string{"1", "nosuch"} {
		if img := b.mustPull(fmt.Sprintf("%s/x:%s@%s", r.Host(), tag, d2)); img.ID != d2 || len(img.RepoTags) != 0 || len(img.RepoDigests) != 1 {
			t.Errorf("pulled %s with tags %v, digests %v", img.ID, img.RepoTags, img.RepoDigests)
		}
		if img, err := b.Get(t.Context(), fmt.Sprintf("%s/x:%s@%s", r.Host(), tag, d2), nil); err != nil || img.ID != d2 {
			t.Errorf("get by tag and digest: %v", err)
		}
		if _, err := b.Get(t.Context(), r.Host()+"/x:"+tag, nil); !errdefs.IsNotFound(err) {
			t.Errorf("a tag appeared: %v", err)
		}
	}
	_, _, err := b.pull(fmt.Sprintf("%s/x@sha256:%064d", r.Host(), 0))
	mention(t, err, "not found")
}

func entry(im *testkit.Image, platform *ocispec.Platform) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: im.MediaType, Digest: digest.FromBytes(im.Manifest), Size: int64(len(im.Manifest)), Platform: platform}
}

func pushIndex(t *testing.T, r *testkit.Registry, tag string, entries ...ocispec.Descriptor) digest.Digest {
	t.Helper()
	body, err := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageIndex, "manifests": entries})
	if err != nil {
		t.Fatal(err)
	}
	return r.PutManifest("x", tag, ocispec.MediaTypeImageIndex, body)
}

// TestIndexOddities is case RF-3.
func TestIndexOddities(t *testing.T) {
	b, r := open(t), registry(t, testkit.Faults{})
	other := map[string]string{"amd64": "arm64", "arm64": "amd64"}[runtime.GOARCH]
	attestation := craft(t, "L comp=none media=application/vnd.in-toto+json;f statement 1")
	foreign := craft(t, "L;f a 1\nC {\"architecture\":\""+other+"\"}")
	ours := craft(t, "L;f a 2")
	for i, im := range []*testkit.Image{attestation, foreign, ours} {
		r.Push("x", fmt.Sprint("m", i), im)
	}
	about := entry(attestation, &ocispec.Platform{OS: "unknown", Architecture: "unknown"})
	about.Annotations = map[string]string{"vnd.docker.reference.type": "attestation-manifest", oci.AttestationFor: digest.FromBytes(ours.Manifest).String()}
	want := pushIndex(t, r, "1", about, entry(foreign, nil), entry(ours, nil))
	img := b.mustPull(r.Host() + "/x:1")
	if img.ID != want || img.Manifest.Digest != digest.FromBytes(ours.Manifest) || len(b.trees.applied) != 1 {
		t.Errorf("pulled %v, unpacked %d layers", img.Manifest.Digest, len(b.trees.applied))
	}
	if !b.blobs.Has(about.Digest) {
		t.Error("the attestation is not kept")
	}
	list, err := b.List(t.Context(), ListOptions{Manifests: true})
	if err != nil || len(list) != 1 || len(list[0].Manifests) != 3 || list[0].Manifests[0].Kind != "attestation" {
		t.Errorf("list: %v %+v", err, list)
	}
	archive := save(t, b, r.Host()+"/x:1")
	other2 := open(t)
	if said := other2.mustLoad(archive); said != "Loaded image: "+r.Host()+"/x:1\n" {
		t.Errorf("load says %q", said)
	}
	if again, err := other2.Get(t.Context(), r.Host()+"/x:1", nil); err != nil || again.ID != want || again.Manifest.Digest != img.Manifest.Digest {
		t.Errorf("after save and load: %v", err)
	}
}

// TestNothingForThisPlatform is case RF-4.
func TestNothingForThisPlatform(t *testing.T) {
	b, r := open(t), registry(t, testkit.Faults{})
	windows := craft(t, "L;f a 1\nC {\"os\":\"windows\"}")
	r.Push("x", "b", windows)
	pushIndex(t, r, "a", entry(windows, &ocispec.Platform{OS: "windows", Architecture: runtime.GOARCH}), entry(windows, &ocispec.Platform{OS: "linux", Architecture: "s390x"}))
	_, _, err := b.pull(r.Host() + "/x:a")
	mention(t, err, "no matching manifest for linux/"+runtime.GOARCH+" in the manifest list entries")
	_, _, err = b.pull(r.Host() + "/x:b")
	mention(t, err, `image operating system "windows" cannot be used`)
	b.empty()
	if n := gets(r, digest.FromBytes(windows.Layers[0])); n > 0 {
		t.Errorf("%d layers were downloaded", n)
	}
}

// TestRefusedDocuments is case RF-5.
func TestRefusedDocuments(t *testing.T) {
	b, r := open(t), registry(t, testkit.Faults{})
	im := craft(t, "L;f a 1")
	r.Push("x", "ok", im)
	var both map[string]any
	if err := json.Unmarshal(im.Manifest, &both); err != nil {
		t.Fatal(err)
	}
	delete(both, "mediaType")
	both["manifests"] = []any{entry(im, nil)}
	ambiguous, _ := json.Marshal(both)
	index, _ := json.Marshal(map[string]any{"schemaVersion": 2, "manifests": []any{entry(im, nil)}})
	r.PutManifest("x", "a", oci.Schema1, []byte(`{"schemaVersion":1,"name":"x","tag":"a","fsLayers":[{"blobSum":"`+digest.FromBytes(im.Layers[0]).String()+`"}]}`))
	r.PutManifest("x", "b", ocispec.MediaTypeImageManifest, ambiguous)
	r.PutManifest("x", "c", ocispec.MediaTypeImageManifest, index)
	for tag, words := range map[string]string{"a": "schema 1", "b": "ambiguous", "c": "ambiguous"} {
		_, _, err := b.pull(r.Host() + "/x:" + tag)
		mention(t, err, words)
	}
	b.empty()
	if n := gets(r, digest.FromBytes(im.Layers[0])); n > 0 {
		t.Errorf("%d layers were downloaded", n)
	}
}

// TestLies is case RF-6: sizes and digests are checked, and what failed does not stand in the way of a good pull.
func TestLies(t *testing.T) {
	b, r := open(t), registry(t, testkit.Faults{})
	for _, lie := range []string{"+1", "-1"} {
		r.Push("x", "1", craft(t, "L size="+lie+";f a 1"))
		_, _, err := b.pull(r.Host() + "/x:1")
		mention(t, err, "size")
		b.empty()
	}
	im := craft(t, "L;f a 1")
	d := digest.FromBytes(im.Layers[0])
	swapped := append([]byte(nil), im.Layers[0]...)
	swapped[len(swapped)/2] ^= 1
	r.Push("x", "1", im)
	r.Faults.Swap = map[digest.Digest][]byte{d: swapped}
	_, _, err := b.pull(r.Host() + "/x:1")
	mention(t, err, d.String())
	b.empty()
	m := digest.FromBytes(im.Manifest)
	r.Faults.Swap = map[digest.Digest][]byte{m: craft(t, "L;f a 9").Manifest}
	_, _, err = b.pull(r.Host() + "/x@" + m.String())
	mention(t, err, m.String())
	b.empty()
	r.Faults.Swap = nil
	b.mustPull(r.Host() + "/x:1")
}

// TestSameLayerTwice is case RF-7.
func TestSameLayerTwice(t *testing.T) {
	b, r := open(t), registry(t, testkit.Faults{})
	im := craft(t, "L;f base 1;L;f q 1;L;w .wh.q;L same=2")
	r.Push("x", "1", im)
	img := b.mustPull(r.Host() + "/x:1")
	if n := gets(r, digest.FromBytes(im.Layers[1])); n != 1 || len(img.DiffIDs) != 4 || img.DiffIDs[1] != img.DiffIDs[3] {
		t.Errorf("%d downloads, diff IDs %v", n, img.DiffIDs)
	}
	other := open(t)
	other.mustLoad(save(t, b, img.RepoTags[0]))
	if again, err := other.Get(t.Context(), img.RepoTags[0], nil); err != nil || len(again.DiffIDs) != 4 || again.ID != img.ID {
		t.Errorf("after save and load: %v", err)
	}
}

// TestWrongDiffID is case LX-9 (a).
func TestWrongDiffID(t *testing.T) {
	b, r := open(t), registry(t, testkit.Faults{})
	im := craft(t, "L;f base 1;L;f a 1;diff 2 sha256:"+strings.Repeat("0", 64))
	r.Push("x", "base", craft(t, "L;f base 1"))
	r.Push("x", "1", im)
	b.mustPull(r.Host() + "/x:base")
	_, _, err := b.pull(r.Host() + "/x:1")
	mention(t, err, "sha256:"+strings.Repeat("0", 64), digest.FromBytes(im.Layers[1]).String())
	if list, _ := b.blobs.List(); len(list) != 3 || len(b.trees.have) != 1 {
		t.Errorf("left %v, layers %v", list, b.trees.have)
	}
}

// TestCut is case RG-4.
func TestCut(t *testing.T) {
	for _, noRange := range []bool{false, true} {
		b, r := open(t), registry(t, testkit.Faults{CutAfter: 1000000, NoRange: noRange})
		im := craft(t, "L comp=none;z big 5000000")
		r.Push("x", "1", im)
		b.mustPull(r.Host() + "/x:1")
		ranged := false
		for _, l := range r.Log() {
			ranged = ranged || l.Range != ""
		}
		if !ranged {
			t.Error("the second request asks for no range")
		}
	}
}

func TestRegistryThatHangsUpForever(t *testing.T) {
	b, r := open(t), registry(t, testkit.Faults{})
	r.Push("x", "1", craft(t, "L;f a 1"))
	r.Faults.HTML = true
	_, _, err := b.pull(r.Host() + "/x:1")
	mention(t, err, "not a json document", "text/html")
	b.empty()
	_, _, err = b.pull("127.0.0.1:1/x:1")
	mention(t, err, "connection refused")
	b.empty()
}

func TestRefusalsInDockersWords(t *testing.T) {
	b, r := open(t), registry(t, testkit.Faults{})
	_, _, err := b.pull(r.Host() + "/x:1")
	mention(t, err, "manifest for "+r.Host()+"/x:1 not found: manifest unknown: manifest_unknown")
	closed := registry(t, testkit.Faults{Auth: "bearer", User: "u", Password: "p"})
	_, _, err = b.pull(closed.Host() + "/x:1")
	mention(t, err, "pull access denied for "+closed.Host()+"/x, repository does not exist or may require 'docker login': unauthorized")
	b.empty()
}

// TestParallelPulls is case VG-5: one download for everybody, and none when everybody has left.
func TestParallelPulls(t *testing.T) {
	b, r := open(t), registry(t, testkit.Faults{Rate: 2000000})
	im := craft(t, "L comp=none;z a 3000000;L comp=none;z b 3000000")
	r.Push("x", "1", im)
	ctx, kill := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	errs := make([]error, 5)
	took := make([]time.Duration, 5)
	began := time.Now()
	for i := range errs {
		wait.Go(func() {
			who := t.Context()
			if i == 0 {
				who = ctx
			}
			_, errs[i] = b.Pull(who, r.Host()+"/x:1", PullOptions{})
			took[i] = time.Since(began)
		})
	}
	time.Sleep(500 * time.Millisecond)
	kill()
	wait.Wait()
	if errs[0] == nil || took[0] > 20*time.Second {
		t.Errorf("the killed one: %v after %s", errs[0], took[0])
	}
	for _, err := range errs[1:] {
		if err != nil {
			t.Error(err)
		}
	}
	for _, d := range append(im.Layers, im.Config) {
		if n := gets(r, digest.FromBytes(d)); n != 1 {
			t.Errorf("a blob was fetched %d times", n)
		}
	}
}

func TestLastOneOutStopsTheTransfer(t *testing.T) {
	b, r := open(t), registry(t, testkit.Faults{Rate: 3000000})
	im := craft(t, "L comp=none;z a 6000000")
	r.Push("x", "1", im)
	ctx, kill := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	for range 3 {
		wait.Go(func() { b.Pull(ctx, r.Host()+"/x:1", PullOptions{}) })
	}
	time.Sleep(700 * time.Millisecond)
	kill()
	wait.Wait()
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		running := b.jobs.Running()
		if running == 0 {
			break
		}
		if time.Since(began) > 30*time.Second {
			t.Fatal("the transfer goes on")
		}
	}
	if _, err := b.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.restart()
	b.mustPull(r.Host() + "/x:1")
	resumed := false
	for _, l := range r.Log() {
		resumed = resumed || strings.HasPrefix(l.Range, "bytes=") && l.Status == 206
	}
	if !resumed {
		t.Error("the next pull, after a restart, did not continue the first")
	}
}

// TestBadPart lets a pull continue what is not of the blob: it must notice and start over.
func TestBadPart(t *testing.T) {
	b, r := open(t), registry(t, testkit.Faults{})
	im := craft(t, "L comp=none;z a 100000")
	r.Push("x", "1", im)
	w, err := b.blobs.Writer(digest.FromBytes(im.Layers[0]), int64(len(im.Layers[0])))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("this is not how it begins")); err != nil {
		t.Fatal(err)
	}
	w.Close()
	b.mustPull(r.Host() + "/x:1")
}

func TestPullAllTags(t *testing.T) {
	b, r := open(t), registry(t, testkit.Faults{})
	for _, tag := range []string{"1", "2", "3", "4", "5"} {
		r.Push("x", tag, craft(t, "L;f a "+tag))
	}
	if _, err := b.Pull(t.Context(), r.Host()+"/x", PullOptions{AllTags: true}); err != nil {
		t.Fatal(err)
	}
	if list, _ := b.List(t.Context(), ListOptions{}); len(list) != 5 {
		t.Errorf("%d images, want 5", len(list))
	}
	if _, err := b.Pull(t.Context(), "127.0.0.1:1/x:1", PullOptions{AllTags: true}); !errdefs.IsInvalidArgument(err) {
		t.Errorf("a tag with all tags: %v", err)
	}
}

func TestPullExplicitPlatform(t *testing.T) {
	b, r := open(t), registry(t, testkit.Faults{})
	other := map[string]string{"amd64": "arm64", "arm64": "amd64"}[runtime.GOARCH]
	foreign := craft(t, "L;f a 1\nC {\"architecture\":\""+other+"\"}")
	ours := craft(t, "L;f a 2")
	r.Push("x", "f", foreign)
	r.Push("x", "o", ours)
	pushIndex(t, r, "1", entry(ours, &ocispec.Platform{OS: "linux", Architecture: runtime.GOARCH}), entry(foreign, &ocispec.Platform{OS: "linux", Architecture: other}))
	p := ocispec.Platform{OS: "linux", Architecture: other}
	img, err := b.Pull(t.Context(), r.Host()+"/x:1", PullOptions{Platform: &p})
	if err != nil || img.Config.Architecture != other {
		t.Fatalf("pull for %s: %v", other, err)
	}
	if img, err := b.Get(t.Context(), r.Host()+"/x:1", nil); err != nil || img.Config.Architecture != other {
		t.Errorf("the only one there: %v", err)
	}
	host := oci.Host()
	_, err = b.Get(t.Context(), r.Host()+"/x:1", &host)
	mention(t, err, "does not provide the specified platform (linux/"+runtime.GOARCH+")")
	b.mustPull(r.Host() + "/x:1")
	if img, err := b.Get(t.Context(), r.Host()+"/x:1", nil); err != nil || img.Config.Architecture != runtime.GOARCH {
		t.Errorf("with both there: %v", err)
	}
	_, err = b.Pull(t.Context(), r.Host()+"/x:o", PullOptions{Platform: &p})
	mention(t, err, "does not provide the specified platform")
}
