package repository_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cove-containers/cove/repository"
	"github.com/cove-containers/cove/repository/local"
)

// TestUntaggedThatAreNeeded has an index and a signature keep what has no tag of its own.
func TestUntaggedThatAreNeeded(t *testing.T) {
	s, _ := open(t, repository.Config{})
	child := push(t, s, "r", "", "child", 1)
	index := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"manifests":[{"mediaType":%q,"digest":%q,"size":%d}]}`,
		ocispec.MediaTypeImageIndex, ocispec.MediaTypeImageManifest, child.Digest, child.Size)
	top, err := s.PutManifest(t.Context(), "r", repository.Push{Body: index, Tags: []string{"v1"}})
	if err != nil {
		t.Fatal(err)
	}
	config, err := put(t.Context(), s, "r", []byte("{}"))
	if err != nil {
		t.Fatal(err)
	}
	signature, err := s.PutManifest(t.Context(), "r", repository.Push{Body: fmt.Appendf(nil,
		`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"text/x","digest":%q,"size":2},"layers":[],"subject":{"digest":%q,"size":1}}`,
		ocispec.MediaTypeImageManifest, config.Digest, top.Digest)})
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(10 * time.Millisecond)
	all := now
	all.Untagged = true
	if done, err := s.Collect(t.Context(), all); err != nil || done != (repository.Collected{}) {
		t.Errorf("collected %+v, %v", done, err)
	}
	for _, d := range []digest.Digest{child.Digest, signature.Digest} {
		if err := whole(t.Context(), s, "r", d.String()); err != nil {
			t.Error(err)
		}
	}
	if err := s.DeleteManifest(t.Context(), "r", "v1"); err != nil {
		t.Fatal(err)
	}
	if done, err := s.Collect(t.Context(), all); err != nil || done.Manifests != 3 || done.Links != 3 {
		t.Errorf("without the tag: collected %+v, %v", done, err)
	}
	if list, _, err := s.Referrers(t.Context(), "r", top.Digest, "", "", 1<<20); len(list) != 0 || err != nil {
		t.Errorf("referrers: %v, %v", list, err)
	}
}

// TestAYoungIndexKeepsItsChildren: who has pushed an index, and is about to tag it, finds what it lists still there.
func TestAYoungIndexKeepsItsChildren(t *testing.T) {
	dir := t.TempDir()
	storage, err := local.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	s := over(t, storage, repository.Config{Grace: time.Hour})
	child := push(t, s, "r", "", "child", 1)
	old := time.Now().Add(-2 * time.Hour)
	if err := os.Chtimes(filepath.Join(dir, "manifests/r+", child.Digest.String()), old, old); err != nil {
		t.Fatal(err)
	}
	index, err := s.PutManifest(t.Context(), "r", repository.Push{Body: fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"manifests":[{"mediaType":%q,"digest":%q,"size":%d}]}`,
		ocispec.MediaTypeImageIndex, ocispec.MediaTypeImageManifest, child.Digest, child.Size)})
	if err != nil {
		t.Fatal(err)
	}
	all := repository.Collection{Untagged: true}
	if done, err := s.Collect(t.Context(), all); err != nil || done != (repository.Collected{}) {
		t.Errorf("collected %+v, %v", done, err)
	}
	if err := s.DeleteManifest(t.Context(), "r", index.Digest.String()); err != nil {
		t.Fatal(err)
	}
	if done, err := s.Collect(t.Context(), all); err != nil || done.Manifests != 1 {
		t.Errorf("without the index: collected %+v, %v", done, err)
	}
}

// meddling does something right after a collection has taken away the name of what it removed.
type meddling struct {
	repository.Storage
	then func()
}

func (m *meddling) Delete(ctx context.Context, keys ...string) error {
	err := m.Storage.Delete(ctx, keys...)
	if then := m.then; then != nil && strings.HasPrefix(keys[0], "doomed/") {
		m.then = nil
		then()
	}
	return err
}

// TestASignaturePushedAgain pushes a signature again in the moment in which a collection has removed it: it is listed.
func TestASignaturePushedAgain(t *testing.T) {
	s, storage := open(t, repository.Config{})
	subject := push(t, s, "r", "v1", "subject", 1)
	sign := func() {
		_, err := s.PutManifest(t.Context(), "r", repository.Push{Body: fmt.Appendf(nil,
			`{"schemaVersion":2,"mediaType":%q,"manifests":[],"subject":{"digest":%q,"size":1}}`, ocispec.MediaTypeImageIndex, subject.Digest)})
		if err != nil {
			t.Error(err)
		}
	}
	sign()
	if err := s.DeleteManifest(t.Context(), "r", "v1"); err != nil {
		t.Fatal(err)
	}
	time.Sleep(10 * time.Millisecond)
	all := now
	all.Untagged = true
	if _, err := over(t, &meddling{storage, sign}, repository.Config{}).Collect(t.Context(), all); err != nil {
		t.Fatal(err)
	}
	if list, _, err := s.Referrers(t.Context(), "r", subject.Digest, "", "", 1<<20); len(list) != 1 || err != nil {
		t.Errorf("referrers: %v, %v", list, err)
	}
}

// slow pushes something while a manifest is on its way out.
type slow struct {
	repository.Storage
	meanwhile func()
}

func (s *slow) Delete(ctx context.Context, keys ...string) error {
	if len(keys) == 1 && strings.HasPrefix(keys[0], "manifests/") {
		s.meanwhile()
	}
	return s.Storage.Delete(ctx, keys...)
}

// TestPushWhileItIsDeleted pushes a manifest with a new tag in the moment in which it is deleted with its old one: a tag never
// leads to nothing.
func TestPushWhileItIsDeleted(t *testing.T) {
	s, storage := open(t, repository.Config{})
	m := push(t, s, "r", "old", "same", 1)
	done := make(chan struct{})
	other := over(t, &slow{storage, func() {
		go func() {
			defer close(done)
			push(t, s, "r", "new", "same", 1)
		}()
		select {
		case <-done:
		case <-time.After(100 * time.Millisecond):
		}
	}}, repository.Config{})
	if err := other.DeleteManifest(t.Context(), "r", m.Digest.String()); err != nil {
		t.Fatal(err)
	}
	<-done
	if tags, _, err := s.Tags(t.Context(), "r", "", -1); strings.Join(tags, " ") != "new" || err != nil {
		t.Errorf("tags %v, %v", tags, err)
	}
	if err := whole(t.Context(), s, "r", "new"); err != nil {
		t.Error(err)
	}
	nothingLeft(t, storage)
}

// TestADamagedRecord: where a record cannot be read everything stays, elsewhere garbage is collected; and it can be deleted, or pushed
// again.
func TestADamagedRecord(t *testing.T) {
	dir := t.TempDir()
	storage, err := local.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	s := over(t, storage, repository.Config{})
	m := push(t, s, "r", "v1", "damaged", 1)
	damage := func() {
		if err := os.WriteFile(filepath.Join(dir, "manifests/r+", m.Digest.String()), []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	damage()
	if _, err := put(t.Context(), s, "other", []byte("garbage")); err != nil {
		t.Fatal(err)
	}
	time.Sleep(10 * time.Millisecond)
	if done, err := s.Collect(t.Context(), now); !errdefs.IsDataLoss(err) || done.Blobs != 1 || done.Links != 1 {
		t.Errorf("collected %+v, %v", done, err)
	}
	push(t, s, "r", "v1", "damaged", 1)
	if err := whole(t.Context(), s, "r", "v1"); err != nil {
		t.Errorf("pushed again: %v", err)
	}
	damage()
	if err := s.DeleteManifest(t.Context(), "r", m.Digest.String()); err != nil {
		t.Error(err)
	}
	time.Sleep(10 * time.Millisecond)
	if done, err := s.Collect(t.Context(), now); err != nil || done.Blobs != 3 {
		t.Errorf("deleted: collected %+v, %v", done, err)
	}
}
