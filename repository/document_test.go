package repository

import (
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cove-containers/cove/oci"
)

// FuzzParse: what is accepted as a manifest names only content that could be there, and calls itself what it was sent as.
func FuzzParse(f *testing.F) {
	f.Add(ocispec.MediaTypeImageManifest, []byte(`{"schemaVersion":2,"config":{"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},"layers":[]}`))
	f.Add(ocispec.MediaTypeImageIndex, []byte(`{"schemaVersion":2,"manifests":[{"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2}],"subject":null}`))
	f.Add(artifactManifest, []byte(`{"blobs":[{"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"}]}`))
	f.Add("", []byte(`{"mediaType":"application/vnd.docker.distribution.manifest.v1+json"}`))
	f.Add("a", []byte(`[]`))
	f.Fuzz(func(t *testing.T, kind string, body []byte) {
		doc, err := parse(kind, body)
		if err != nil {
			if CodeOf(err) != ManifestInvalid {
				t.Errorf("an error with code %q: %v", CodeOf(err), err)
			}
			return
		}
		if !oci.IsDocument(doc.MediaType) && doc.MediaType != artifactManifest {
			t.Errorf("media type %q", doc.MediaType)
		}
		for _, d := range append(doc.children(), doc.entries()...) {
			if checkDigest(d.Digest) != nil || d.Size < 0 {
				t.Errorf("it names %s, %d bytes", d.Digest, d.Size)
			}
		}
	})
}
