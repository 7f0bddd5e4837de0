package image

import (
	"encoding/json"
	"runtime"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cove-containers/cove/oci"
	"github.com/cove-containers/cove/testkit"
)

const provenance = "https://slsa.dev/provenance/v1"

// stated makes an attestation of one statement about im.
func stated(t *testing.T, r *testkit.Registry, im *testkit.Image) ocispec.Descriptor {
	t.Helper()
	about := craft(t, "L comp=none media=application/vnd.in-toto+json;f statement 1")
	var m ocispec.Manifest
	if err := json.Unmarshal(about.Manifest, &m); err != nil {
		t.Fatal(err)
	}
	m.Layers[0].Annotations = map[string]string{predicateType: provenance}
	about.Manifest, _ = json.Marshal(m)
	r.Push("x", "about", about)
	d := entry(about, &ocispec.Platform{OS: "unknown", Architecture: "unknown"})
	d.Annotations = map[string]string{"vnd.docker.reference.type": "attestation-manifest", oci.AttestationFor: digest.FromBytes(im.Manifest).String()}
	return d
}

// TestSinglePlatforms takes one platform out of an image that has two, and reads what is stated about the other.
func TestSinglePlatforms(t *testing.T) {
	b, r := open(t), registry(t, testkit.Faults{})
	other := map[string]string{"amd64": "arm64", "arm64": "amd64"}[runtime.GOARCH]
	foreign, ours := craft(t, "L;f a 1\nC {\"architecture\":\""+other+"\"}"), craft(t, "L;f a 2")
	r.Push("x", "foreign", foreign)
	r.Push("x", "ours", ours)
	pushIndex(t, r, "1", stated(t, r, ours), entry(foreign, nil), entry(ours, nil))
	name, away := r.Host()+"/x:1", ocispec.Platform{OS: "linux", Architecture: other}
	b.mustPull(name)
	if _, err := b.Pull(t.Context(), name, PullOptions{Platform: &away}); err != nil {
		t.Fatal(err)
	}

	found, err := b.Attestations(t.Context(), name, AttestationOptions{Statements: true})
	if err != nil || len(found) != 1 || found[0].PredicateType != provenance || found[0].Statement == nil {
		t.Fatalf("attestations: %v %+v", err, found)
	}
	for what, o := range map[string]AttestationOptions{"another type": {Types: []string{"x"}}, "another platform": {Platform: &away}} {
		if found, err := b.Attestations(t.Context(), name, o); err != nil || len(found) != 0 {
			t.Errorf("%s: %v %+v", what, err, found)
		}
	}
	if found, _ := b.Attestations(t.Context(), name, AttestationOptions{Types: []string{provenance}}); len(found) != 1 || found[0].Statement != nil {
		t.Errorf("without texts: %+v", found)
	}
	if _, err := b.Attestations(t.Context(), name, AttestationOptions{Platform: &ocispec.Platform{OS: "linux", Architecture: "s390x"}}); !errdefs.IsNotFound(err) {
		t.Errorf("a platform that is not there: %v", err)
	}

	remove := func(p ...ocispec.Platform) (string, error) {
		out, err := b.Remove(t.Context(), name, RemoveOptions{Platforms: p, Force: true})
		return words(out), err
	}
	foreignID := digest.FromBytes(foreign.Manifest)
	b.users = []User{{ID: strings.Repeat("c", 64), Image: b.get(name).ID, Manifest: foreignID}}
	_, err = remove(away)
	mention(t, err, "image is being used by stopped container cccccccccccc")
	b.users = nil
	if said, err := remove(away); err != nil || said != "deleted "+foreignID.String() {
		t.Fatalf("remove %s: %q %v", other, said, err)
	}
	if b.blobs.Has(foreignID) || b.blobs.Has(digest.FromBytes(foreign.Layers[0])) || len(b.trees.have) != 1 {
		t.Errorf("something of %s is still there: %v", other, b.trees.have)
	}
	if _, err := remove(away); !errdefs.IsNotFound(err) {
		t.Errorf("removed twice: %v", err)
	}
	_, err = remove(oci.Host())
	mention(t, err, "it has no other platform")
	if img := b.get(name); img.Manifest.Digest != digest.FromBytes(ours.Manifest) {
		t.Errorf("the image is %v", img.Manifest)
	}
	if img, err := b.Pull(t.Context(), name, PullOptions{Platform: &away}); err != nil || img.Manifest.Digest != foreignID {
		t.Errorf("pulled again: %v", err)
	}
}
