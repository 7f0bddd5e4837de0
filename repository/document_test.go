package repository

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

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

// memory keeps objects in a map: the package's own tests cannot import a storage, which imports the package.
type memory struct {
	Storage
	objects map[string][]byte
	dead    bool
}

func (m *memory) Put(ctx context.Context, key string, r io.Reader, size int64) error {
	body, err := io.ReadAll(r)
	if err == nil && !m.dead {
		m.objects[key] = body
	}
	return err
}

func (m *memory) Open(ctx context.Context, key string, offset int64) (io.ReadCloser, Object, error) {
	body, err := m.get(key)
	return io.NopCloser(bytes.NewReader(body)), Object{Key: key, Size: int64(len(body))}, err
}

func (m *memory) Stat(ctx context.Context, key string) (Object, error) {
	body, err := m.get(key)
	return Object{Key: key, Size: int64(len(body))}, err
}

func (m *memory) get(key string) ([]byte, error) {
	body, ok := m.objects[key]
	if !ok {
		return nil, errdefs.ErrNotFound
	}
	return body, nil
}

func (m *memory) Delete(ctx context.Context, keys ...string) error {
	for _, key := range keys {
		delete(m.objects, key)
	}
	return nil
}

// deadly is content in whose middle the registry is killed.
type deadly struct{ m *memory }

func (d deadly) Read([]byte) (int, error) {
	d.m.dead = true
	return 0, errors.New("killed")
}

// TestCheckpoints kills a registry in the middle of a long PATCH: what came before the last checkpoint is there.
func TestCheckpoints(t *testing.T) {
	m := &memory{objects: map[string][]byte{}}
	s, err := Open(t.Context(), m, Config{})
	if err != nil {
		t.Fatal(err)
	}
	s.checkpoint = 100
	id, err := s.Start(t.Context(), "r")
	if err != nil {
		t.Fatal(err)
	}
	content := strings.Repeat("0123456789", 100)
	for _, c := range []struct{ from, to, kept int }{{0, 250, 200}, {200, 300, 300}, {300, 399, 300}, {300, 1000, 1000}} {
		part := Body{Reader: strings.NewReader(content[c.from:c.to]), At: int64(c.from), Size: -1, Interrupt: func() {}}
		if c.to < 1000 {
			part.Reader = io.MultiReader(part.Reader, deadly{m})
		}
		s.Append(t.Context(), "r", id, part)
		m.dead = false
		if n, err := s.Status(t.Context(), "r", id); n != int64(c.kept) || err != nil {
			t.Errorf("from %d to %d: at %d, %v; want %d", c.from, c.to, n, err, c.kept)
		}
	}
	p, err := s.load(t.Context(), "r", id)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := s.digestOf(t.Context(), p, digest.SHA256); got != digest.FromString(content) || err != nil {
		t.Errorf("digest %s, %v", got, err)
	}
	if got, err := s.digestOf(t.Context(), p, digest.SHA512); got != digest.SHA512.FromString(content) || err != nil {
		t.Errorf("digest of the parts %s, %v", got, err)
	}
}
