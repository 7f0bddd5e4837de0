package repository_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cove-containers/cove/repository"
	"github.com/cove-containers/cove/repository/local"
)

func open(t *testing.T, c repository.Config) (*repository.Store, repository.Storage) {
	t.Helper()
	storage, err := local.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return over(t, storage, c), storage
}

func over(t *testing.T, storage repository.Storage, c repository.Config) *repository.Store {
	t.Helper()
	s, err := repository.Open(t.Context(), storage, c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func body(b []byte) repository.Body {
	return repository.Body{Reader: bytes.NewReader(b), At: -1, Size: int64(len(b)), Interrupt: func() {}}
}

// put stores a blob and returns its descriptor.
func put(ctx context.Context, s *repository.Store, name string, content []byte) (ocispec.Descriptor, error) {
	d := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: digest.FromBytes(content), Size: int64(len(content))}
	return d, s.PutBlob(ctx, name, d.Digest, body(content))
}

// manifest is one over the given blobs, the first of which is the config.
func manifest(t *testing.T, blobs ...ocispec.Descriptor) []byte {
	t.Helper()
	out, err := json.Marshal(ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, Config: blobs[0], Layers: blobs[1:],
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// push stores an image of one config and n layers, whose content the seed decides.
func push(t *testing.T, s *repository.Store, name, tag, seed string, n int) repository.Manifest {
	t.Helper()
	var blobs []ocispec.Descriptor
	for i := range n + 1 {
		d, err := put(t.Context(), s, name, fmt.Appendf(nil, "%s %d", seed, i))
		if err != nil {
			t.Fatal(err)
		}
		blobs = append(blobs, d)
	}
	p := repository.Push{MediaType: ocispec.MediaTypeImageManifest, Body: manifest(t, blobs...)}
	if tag != "" {
		p.Tags = []string{tag}
	}
	m, err := s.PutManifest(t.Context(), name, p)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// whole reads an image to its last byte and checks every digest.
func whole(ctx context.Context, s *repository.Store, name, reference string) error {
	m, err := s.Manifest(ctx, name, reference)
	if err != nil {
		return err
	}
	text, err := s.ReadManifest(ctx, name, m)
	if err != nil {
		return err
	}
	var doc ocispec.Manifest
	if err := json.Unmarshal(text, &doc); err != nil {
		return err
	}
	for _, d := range append(doc.Layers, doc.Config) {
		r, size, err := s.OpenBlob(ctx, name, d.Digest, 0)
		if err != nil {
			return err
		}
		got, err := io.ReadAll(r)
		r.Close()
		if err != nil || digest.FromBytes(got) != d.Digest || size != d.Size {
			return fmt.Errorf("blob %s: %d bytes, %v: %w", d.Digest, len(got), err, errdefs.ErrDataLoss)
		}
	}
	return nil
}

func code(t *testing.T, what string, err error, want repository.Code) {
	t.Helper()
	if repository.CodeOf(err) != want {
		t.Errorf("%s: %v (code %q), want %s", what, err, repository.CodeOf(err), want)
	}
}

func TestNames(t *testing.T) {
	for _, good := range []string{"a", "library/alpine", "a/b/c/d", "a-b_c.d/e__f", "localhost/x", "0"} {
		if err := repository.CheckName(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{"", "..", "a/../b", "../a", "a/..", ".", "a//b", "/a", "a/", "A", "a+", "a:b", "a@b", "a b", "_x", "a/_tags/b", "a%2e", "a\x00b", strings.Repeat("a", 256)} {
		code(t, fmt.Sprintf("%q", bad), repository.CheckName(bad), repository.NameInvalid)
	}
}

func TestPushAndPull(t *testing.T) {
	s, _ := open(t, repository.Config{})
	m := push(t, s, "a/b", "v1", "one", 3)
	for _, reference := range []string{"v1", m.Digest.String()} {
		if err := whole(t.Context(), s, "a/b", reference); err != nil {
			t.Errorf("%s: %v", reference, err)
		}
	}
	code(t, "another repository", whole(t.Context(), s, "a", "v1"), repository.ManifestUnknown)
	_, err := s.StatBlob(t.Context(), "a", digest.FromString("one 0"))
	code(t, "a blob of another repository", err, repository.BlobUnknown)
	if err := s.DeleteManifest(t.Context(), "a/b", "v1"); err != nil {
		t.Fatal(err)
	}
	code(t, "a deleted tag", whole(t.Context(), s, "a/b", "v1"), repository.ManifestUnknown)
	if err := whole(t.Context(), s, "a/b", m.Digest.String()); err != nil {
		t.Errorf("without its tag: %v", err)
	}
	push(t, s, "a/b", "v2", "one", 3)
	if err := s.DeleteManifest(t.Context(), "a/b", m.Digest.String()); err != nil {
		t.Fatal(err)
	}
	if tags, _, err := s.Tags(t.Context(), "a/b", "", -1); err != nil || len(tags) != 0 {
		t.Errorf("tags of a deleted manifest: %v, %v", tags, err)
	}
	code(t, "delete again", s.DeleteManifest(t.Context(), "a/b", m.Digest.String()), repository.ManifestUnknown)
}

// TestBadManifests is a list of what must be refused, with nothing of it left.
// TestWordsForWhatIsAbsent: clients are told what is not there, not where it was looked for.
func TestWordsForWhatIsAbsent(t *testing.T) {
	s, _ := open(t, repository.Config{})
	d := digest.FromString("absent")
	_, err := s.StatBlob(t.Context(), "r", d)
	_, byTag := s.Manifest(t.Context(), "r", "v1")
	_, byDigest := s.Manifest(t.Context(), "r", d.String())
	_, upload := s.Status(t.Context(), "r", "abc")
	for _, err := range []error{err, byTag, byDigest, upload, s.DeleteBlob(t.Context(), "r", d), s.DeleteManifest(t.Context(), "r", d.String())} {
		if !errdefs.IsNotFound(err) || strings.Contains(err.Error(), "+") || strings.Contains(err.Error(), "object") {
			t.Error(err)
		}
	}
}

// TestALowerBoundForManifests: what was taken is given, though it would be refused now.
func TestALowerBoundForManifests(t *testing.T) {
	s, storage := open(t, repository.Config{})
	push(t, s, "r", "v1", "large", 10)
	s = over(t, storage, repository.Config{MaxManifest: 100})
	if err := whole(t.Context(), s, "r", "v1"); err != nil {
		t.Error(err)
	}
}

func TestBadManifests(t *testing.T) {
	s, _ := open(t, repository.Config{})
	config, err := put(t.Context(), s, "r", []byte("{}"))
	if err != nil {
		t.Fatal(err)
	}
	absent := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: digest.FromString("absent"), Size: 6}
	good := manifest(t, config)
	index := func(d ocispec.Descriptor) []byte {
		return fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"manifests":[{"digest":%q,"size":1}]}`, ocispec.MediaTypeImageIndex, d.Digest)
	}
	for name, c := range map[string]struct {
		push repository.Push
		want repository.Code
	}{
		"absent layer":         {repository.Push{Body: manifest(t, config, absent)}, repository.ManifestBlobUnknown},
		"absent config":        {repository.Push{Body: manifest(t, absent)}, repository.ManifestBlobUnknown},
		"absent child":         {repository.Push{Body: index(absent)}, repository.ManifestBlobUnknown},
		"wrong digest":         {repository.Push{Body: good, Digest: absent.Digest}, repository.DigestInvalid},
		"no digest":            {repository.Push{Body: good, Digest: "sha256:../../etc"}, repository.DigestInvalid},
		"digest of md5":        {repository.Push{Body: good, Digest: "md5:d41d8cd98f00b204e9800998ecf8427e"}, repository.DigestInvalid},
		"bad tag":              {repository.Push{Body: good, Tags: []string{"../x"}}, repository.ManifestInvalid},
		"too large":            {repository.Push{Body: append(bytes.Repeat([]byte(" "), 5<<20), good...)}, repository.SizeInvalid},
		"no JSON":              {repository.Push{Body: []byte("hello")}, repository.ManifestInvalid},
		"a list":               {repository.Push{Body: []byte("[]")}, repository.ManifestInvalid},
		"empty":                {repository.Push{Body: nil}, repository.ManifestInvalid},
		"sent as another type": {repository.Push{Body: good, MediaType: ocispec.MediaTypeImageIndex}, repository.ManifestInvalid},
		"two things": {repository.Push{Body: fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":{"digest":%q,"size":2},"manifests":[]}`,
			ocispec.MediaTypeImageManifest, config.Digest)}, repository.ManifestInvalid},
		"a key twice": {repository.Push{Body: fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":{"digest":%q,"size":2},"layers":[],"layers":[]}`,
			ocispec.MediaTypeImageManifest, config.Digest)}, repository.ManifestInvalid},
		"schema 1":            {repository.Push{Body: []byte(`{"schemaVersion":1,"fsLayers":[]}`), MediaType: "application/vnd.docker.distribution.manifest.v1+prettyjws"}, repository.ManifestInvalid},
		"unknown type":        {repository.Push{Body: []byte(`{"mediaType":"text/plain"}`)}, repository.ManifestInvalid},
		"negative size":       {repository.Push{Body: manifest(t, ocispec.Descriptor{Digest: config.Digest, Size: -1})}, repository.ManifestInvalid},
		"a bad digest inside": {repository.Push{Body: manifest(t, ocispec.Descriptor{Digest: "sha256:abc"})}, repository.ManifestInvalid},
		"a bad subject": {repository.Push{Body: fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":{"digest":%q,"size":2},"layers":[],"subject":{"digest":"x"}}`,
			ocispec.MediaTypeImageManifest, config.Digest)}, repository.ManifestInvalid},
	} {
		if c.push.Tags == nil {
			c.push.Tags = []string{"bad"}
		}
		_, err := s.PutManifest(t.Context(), "r", c.push)
		code(t, name, err, c.want)
	}
	if _, _, err := s.Tags(t.Context(), "r", "", -1); repository.CodeOf(err) != repository.NameUnknown {
		t.Errorf("something of it is there: %v", err)
	}
	foreign := absent
	foreign.MediaType, foreign.URLs = "application/vnd.oci.image.layer.nondistributable.v1.tar", []string{"https://elsewhere.example/x"}
	if _, err := s.PutManifest(t.Context(), "r", repository.Push{Body: manifest(t, config, foreign), Tags: []string{"ok"}}); err != nil {
		t.Errorf("content that lies elsewhere: %v", err)
	}
	if _, err := s.PutManifest(t.Context(), "sparse", repository.Push{Body: manifest(t, absent), Tags: []string{"ok"}, Sparse: true}); err != nil {
		t.Errorf("content that comes later: %v", err)
	}
}

func TestMount(t *testing.T) {
	s, _ := open(t, repository.Config{})
	d, err := put(t.Context(), s, "from/here", []byte("blob"))
	if err != nil {
		t.Fatal(err)
	}
	all := func(string) bool { return true }
	for name, c := range map[string]struct {
		from string
		may  func(string) bool
		ok   bool
	}{
		"named":        {"from/here", all, true},
		"found":        {"", all, true},
		"wrong source": {"from/there", all, false},
		"not allowed":  {"from/here", func(string) bool { return false }, false},
		"none allowed": {"", func(n string) bool { return n != "from/here" }, false},
	} {
		to := "to/" + strings.ReplaceAll(name, " ", "-")
		err := s.Mount(t.Context(), to, d.Digest, c.from, c.may)
		if (err == nil) != c.ok || err != nil && !errdefs.IsNotFound(err) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := s.StatBlob(t.Context(), to, d.Digest); (err == nil) != c.ok {
			t.Errorf("%s: afterwards %v", name, err)
		}
		if c.ok {
			if err := s.DeleteBlob(t.Context(), to, d.Digest); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestLists(t *testing.T) {
	s, _ := open(t, repository.Config{})
	names := []string{"a", "a-b", "a.b", "a/b", "a0", "b"}
	for _, name := range names {
		push(t, s, name, "z", "same", 1)
		push(t, s, name, "A", "same", 1)
	}
	var got []string
	last := ""
	for {
		page, more, err := s.Names(t.Context(), last, 2)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, page...)
		if !more {
			break
		}
		last = page[len(page)-1]
	}
	if strings.Join(got, " ") != strings.Join(names, " ") {
		t.Errorf("names %v, want %v", got, names)
	}
	for behind, want := range map[string]string{"": "A z", "A": "z", "m": "z", "z": ""} {
		tags, more, err := s.Tags(t.Context(), "a", behind, -1)
		if strings.Join(tags, " ") != want || more || err != nil {
			t.Errorf("tags behind %q: %v, %v, %v", behind, tags, more, err)
		}
	}
	if tags, more, err := s.Tags(t.Context(), "a", "", 1); len(tags) != 1 || !more || err != nil {
		t.Errorf("one tag: %v, %v, %v", tags, more, err)
	}
	_, _, err := s.Tags(t.Context(), "none", "", -1)
	code(t, "tags of nothing", err, repository.NameUnknown)
}

func TestQuota(t *testing.T) {
	s, _ := open(t, repository.Config{Quota: func(name string) int64 { return map[string]int64{"small": 1000}[name] }})
	if _, err := put(t.Context(), s, "small", bytes.Repeat([]byte("a"), 600)); err != nil {
		t.Fatal(err)
	}
	_, err := put(t.Context(), s, "small", bytes.Repeat([]byte("b"), 401))
	code(t, "too much at once", err, repository.Denied)
	id, err := s.Start(t.Context(), "small")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Append(t.Context(), "small", id, body(make([]byte, 300))); err != nil {
		t.Fatal(err)
	}
	_, err = s.Append(t.Context(), "small", id, body(make([]byte, 101)))
	code(t, "too much in parts", err, repository.Denied)
	d, err := put(t.Context(), s, "large", bytes.Repeat([]byte("c"), 5000))
	if err != nil {
		t.Fatal(err)
	}
	code(t, "too much mounted", s.Mount(t.Context(), "small", d.Digest, "large", func(string) bool { return true }), repository.Denied)
	if _, err := put(t.Context(), s, "small", bytes.Repeat([]byte("a"), 600)); err != nil {
		t.Errorf("the same once more: %v", err)
	}
}

func TestFormatIsChecked(t *testing.T) {
	_, storage := open(t, repository.Config{})
	if err := storage.Put(t.Context(), "FORMAT", strings.NewReader("2\n"), 2); err != nil {
		t.Fatal(err)
	}
	if _, err := repository.Open(t.Context(), storage, repository.Config{}); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("a format from the future: %v", err)
	}
}

// TestDrawing compares what a push leaves in the storage with what the package's comment draws.
func TestDrawing(t *testing.T) {
	text, err := os.ReadFile("repository.go")
	if err != nil {
		t.Fatal(err)
	}
	drawn := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		if entry, ok := strings.CutPrefix(line, "//\t"); ok {
			name, _, _ := strings.Cut(strings.Fields(entry)[0], "/")
			drawn[name] = false
		}
	}
	s, storage := open(t, repository.Config{})
	m := push(t, s, "a/b", "v1", "one", 1)
	config, err := put(t.Context(), s, "a/b", []byte("{}"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.PutManifest(t.Context(), "a/b", repository.Push{Body: fmt.Appendf(nil,
		`{"schemaVersion":2,"mediaType":%q,"config":{"digest":%q,"size":2},"layers":[],"subject":{"digest":%q,"size":1}}`,
		ocispec.MediaTypeImageManifest, config.Digest, m.Digest)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Start(t.Context(), "a/b"); err != nil {
		t.Fatal(err)
	}
	list, err := storage.List(t.Context(), "", "", 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range list {
		name, _, _ := strings.Cut(o.Key, "/")
		if _, ok := drawn[name]; !ok {
			t.Errorf("%s is not in the drawing", o.Key)
		}
		drawn[name] = true
	}
	for name, there := range drawn {
		if !there && name != "doomed" { // only while a collection is under way
			t.Errorf("%s/ is drawn, and nothing is there", name)
		}
	}
}
