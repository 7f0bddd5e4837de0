package repository_test

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cove-containers/cove/repository"
)

func TestReferrers(t *testing.T) {
	s, _ := open(t, repository.Config{})
	subject := push(t, s, "r", "v1", "subject", 1)
	config, err := put(t.Context(), s, "r", []byte("{}"))
	if err != nil {
		t.Fatal(err)
	}
	refer := func(kind string) digest.Digest {
		m, err := s.PutManifest(t.Context(), "r", repository.Push{Body: fmt.Appendf(nil,
			`{"schemaVersion":2,"mediaType":%q,"artifactType":%q,"config":{"mediaType":"text/config","digest":%q,"size":2},"layers":[],"subject":{"digest":%q,"size":1},"annotations":{"k":"v"}}`,
			ocispec.MediaTypeImageManifest, kind, config.Digest, subject.Digest)})
		if err != nil {
			t.Fatal(err)
		}
		if m.Subject != subject.Digest {
			t.Errorf("subject %s", m.Subject)
		}
		return m.Digest
	}
	signature, plain := refer("text/signature"), refer("")
	list, more, err := s.Referrers(t.Context(), "r", subject.Digest, "", "", 1<<20)
	if len(list) != 2 || more || err != nil {
		t.Fatalf("%v, %v, %v", list, more, err)
	}
	for kind, want := range map[string]digest.Digest{"text/signature": signature, "text/config": plain} {
		list, _, err := s.Referrers(t.Context(), "r", subject.Digest, kind, "", 1<<20)
		if len(list) != 1 || err != nil || list[0].Digest != want || list[0].Annotations["k"] != "v" {
			t.Errorf("%s: %v, %v", kind, list, err)
		}
	}
	first, more, err := s.Referrers(t.Context(), "r", subject.Digest, "", "", 10)
	if len(first) != 1 || !more || err != nil {
		t.Fatalf("a short page: %v, %v, %v", first, more, err)
	}
	rest, more, err := s.Referrers(t.Context(), "r", subject.Digest, "", first[0].Digest.String(), 1<<20)
	if len(rest) != 1 || more || err != nil || rest[0].Digest == first[0].Digest {
		t.Errorf("the page after it: %v, %v, %v", rest, more, err)
	}
	// A client that knew no better listed one under a tag.
	listed := push(t, s, "r", "", "listed", 1)
	index := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"manifests":[{"mediaType":%q,"digest":%q,"size":%d,"artifactType":"text/old"}]}`,
		ocispec.MediaTypeImageIndex, ocispec.MediaTypeImageManifest, listed.Digest, listed.Size)
	if _, err := s.PutManifest(t.Context(), "r", repository.Push{Body: index, Tags: []string{"sha256-" + subject.Digest.Encoded()}}); err != nil {
		t.Fatal(err)
	}
	if list, _, err := s.Referrers(t.Context(), "r", subject.Digest, "", "", 1<<20); len(list) != 3 || err != nil {
		t.Errorf("with the listed one: %v, %v", list, err)
	}
	if err := s.DeleteManifest(t.Context(), "r", signature.String()); err != nil {
		t.Fatal(err)
	}
	if list, _, err := s.Referrers(t.Context(), "r", subject.Digest, "text/signature", "", 1<<20); len(list) != 0 || err != nil {
		t.Errorf("a deleted one: %v, %v", list, err)
	}
}

// counting counts the objects opened below a prefix.
type counting struct {
	repository.Storage
	prefix string
	opened atomic.Int32
}

func (c *counting) Open(ctx context.Context, key string, offset int64) (io.ReadCloser, repository.Object, error) {
	if strings.HasPrefix(key, c.prefix) {
		c.opened.Add(1)
	}
	return c.Storage.Open(ctx, key, offset)
}

// TestPagesOfReferrers: a page reads hardly more than it shows, and all pages together are all referrers, each once.
func TestPagesOfReferrers(t *testing.T) {
	s, storage := open(t, repository.Config{})
	subject := push(t, s, "r", "v1", "subject", 0)
	want := map[digest.Digest]bool{}
	for i := range 50 {
		m, err := s.PutManifest(t.Context(), "r", repository.Push{Body: fmt.Appendf(nil,
			`{"schemaVersion":2,"mediaType":%q,"manifests":[],"subject":{"digest":%q,"size":1},"annotations":{"n":"%d"}}`, ocispec.MediaTypeImageIndex, subject.Digest, i)})
		if err != nil {
			t.Fatal(err)
		}
		want[m.Digest] = true
	}
	c := &counting{Storage: storage, prefix: "referrers/"}
	s = over(t, c, repository.Config{})
	last := ""
	for page := 0; ; page++ {
		c.opened.Store(0)
		list, more, err := s.Referrers(t.Context(), "r", subject.Digest, "", last, 500)
		if err != nil || len(list) == 0 || c.opened.Load() > 16 {
			t.Fatalf("page %d: %d referrers, %d read, %v", page, len(list), c.opened.Load(), err)
		}
		for _, r := range list {
			if !want[r.Digest] || r.Digest.String() <= last {
				t.Errorf("page %d: %s after %s", page, r.Digest, last)
			}
			delete(want, r.Digest)
			last = r.Digest.String()
		}
		if !more {
			break
		}
	}
	if len(want) > 0 {
		t.Errorf("on no page: %v", want)
	}
}
