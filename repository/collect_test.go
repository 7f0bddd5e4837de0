package repository_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cove-containers/cove/repository"
	"github.com/cove-containers/cove/repository/local"
)

// now makes everything old enough.
var now = repository.Collection{Grace: time.Nanosecond}

func TestCollect(t *testing.T) {
	s, storage := open(t, repository.Config{UploadExpiry: time.Nanosecond})
	push(t, s, "keep", "v1", "kept", 3)
	untagged := push(t, s, "keep", "", "untagged", 3)
	gone := push(t, s, "gone", "v1", "gone", 3)
	push(t, s, "shares", "v1", "gone", 2) // three of the four blobs of gone
	if _, err := put(t.Context(), s, "keep", []byte("never used")); err != nil {
		t.Fatal(err)
	}
	id, err := s.Start(t.Context(), "keep")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Append(t.Context(), "keep", id, body([]byte("never finished"))); err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteManifest(t.Context(), "gone", gone.Digest.String()); err != nil {
		t.Fatal(err)
	}
	time.Sleep(10 * time.Millisecond)
	dry := now
	dry.DryRun = true
	told, err := s.Collect(t.Context(), dry)
	if err != nil {
		t.Fatal(err)
	}
	done, err := s.Collect(t.Context(), now)
	if err != nil {
		t.Fatal(err)
	}
	// The blob never used, the last layer and the manifest of gone; five links to blobs.
	want := repository.Collected{Links: 5, Blobs: 3, Uploads: 1, Freed: done.Freed}
	if done != want || told != done {
		t.Errorf("collected %+v, told %+v before, want %+v", done, told, want)
	}
	for name, reference := range map[string]string{"keep": "v1", "shares": "v1"} {
		if err := whole(t.Context(), s, name, reference); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := whole(t.Context(), s, "keep", untagged.Digest.String()); err != nil {
		t.Errorf("untagged: %v", err)
	}
	if names, _, err := s.Names(t.Context(), "", -1); strings.Join(names, " ") != "keep shares" || err != nil {
		t.Errorf("repositories %v, %v", names, err)
	}
	all := now
	all.Untagged = true
	if done, err = s.Collect(t.Context(), all); err != nil || done.Manifests != 1 || done.Blobs != 5 {
		t.Errorf("with the untagged: %+v, %v", done, err)
	}
	again, err := s.Collect(t.Context(), all)
	if err != nil || again != (repository.Collected{}) {
		t.Errorf("nothing is left to collect, and still: %+v, %v", again, err)
	}
	nothingLeft(t, storage)
}

func TestGraceIsKept(t *testing.T) {
	s, _ := open(t, repository.Config{Grace: time.Hour})
	if _, err := put(t.Context(), s, "r", []byte("young")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Start(t.Context(), "r"); err != nil {
		t.Fatal(err)
	}
	push(t, s, "r", "", "young too", 1)
	done, err := s.Collect(t.Context(), repository.Collection{Untagged: true})
	if err != nil || done != (repository.Collected{}) {
		t.Errorf("collected %+v, %v", done, err)
	}
}

// lazy is a storage that thinks for a while before it removes anything: all the time others have to come to rely on it.
type lazy struct{ repository.Storage }

func (l lazy) Delete(ctx context.Context, keys ...string) error {
	if len(keys) > 0 && !strings.HasPrefix(keys[0], "doomed/") {
		time.Sleep(time.Duration(rand.IntN(20)) * time.Millisecond)
	}
	return l.Storage.Delete(ctx, keys...)
}

// TestCollectWhilePushing pushes from two processes and collects from two, with hardly any grace time, all at once. A push may
// then fail because what it sent was taken again; one that succeeded is whole and stays so.
func TestCollectWhilePushing(t *testing.T) {
	storage, err := local.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	stores := []*repository.Store{over(t, storage, repository.Config{}), over(t, storage, repository.Config{})}
	collectors := []*repository.Store{over(t, lazy{storage}, repository.Config{}), over(t, lazy{storage}, repository.Config{})}
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
	defer cancel()
	var wait sync.WaitGroup
	var pushed, failed, collections atomic.Int64
	var mu sync.Mutex
	tags := map[string]digest.Digest{}
	for n := range 4 {
		wait.Go(func() {
			random := rand.New(rand.NewPCG(uint64(n), 1))
			for i := 0; ctx.Err() == nil; i++ {
				s := stores[i%2]
				name, tag := fmt.Sprint("r", random.IntN(3)), fmt.Sprintf("t%d-%d", n, i)
				// Few seeds: what one push needs, another has just let go.
				m, err := tryPush(context.WithoutCancel(ctx), s, name, tag, fmt.Sprint(random.IntN(12)))
				if err != nil {
					failed.Add(1)
					if repository.CodeOf(err) == "" && !errdefs.IsUnavailable(err) {
						t.Errorf("push: %v", err)
					}
					continue
				}
				pushed.Add(1)
				if random.IntN(2) == 0 {
					// Tags go and their manifests with them, unless somebody pushed the same again.
					if err := s.DeleteManifest(context.WithoutCancel(ctx), name, tag); err != nil {
						t.Errorf("delete %s: %v", tag, err)
					}
					continue
				}
				mu.Lock()
				tags[name+" "+tag] = m.Digest
				mu.Unlock()
			}
		})
	}
	for n := range 2 {
		wait.Go(func() {
			for ctx.Err() == nil {
				// Just long enough that some pushes come through.
				c := repository.Collection{Grace: 30 * time.Millisecond, Untagged: true}
				time.Sleep(time.Duration(rand.IntN(10)) * time.Millisecond)
				if _, err := collectors[n].Collect(context.WithoutCancel(ctx), c); err != nil && !errdefs.IsUnavailable(err) {
					t.Errorf("collect: %v", err)
				}
				collections.Add(1)
			}
		})
	}
	wait.Wait()
	for at, d := range tags {
		name, tag, _ := strings.Cut(at, " ")
		if err := whole(t.Context(), stores[0], name, tag); err != nil {
			t.Errorf("%s, pushed as %s: %v", at, d, err)
		}
	}
	t.Logf("%d pushes succeeded, %d were refused, %d collections; %d tags are whole", pushed.Load(), failed.Load(), collections.Load(), len(tags))
	if pushed.Load() < 20 || collections.Load() < 10 {
		t.Errorf("too little happened")
	}
	nothingLeft(t, storage)
}

func tryPush(ctx context.Context, s *repository.Store, name, tag, seed string) (repository.Manifest, error) {
	var blobs []ocispec.Descriptor
	for i := range 3 {
		d, err := put(ctx, s, name, fmt.Appendf(nil, "%s %d", seed, i))
		if err != nil {
			return repository.Manifest{}, err
		}
		blobs = append(blobs, d)
	}
	text := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":{"digest":%q,"size":%d},"layers":[{"digest":%q,"size":%d},{"digest":%q,"size":%d}]}`,
		ocispec.MediaTypeImageManifest, blobs[0].Digest, blobs[0].Size, blobs[1].Digest, blobs[1].Size, blobs[2].Digest, blobs[2].Size)
	return s.PutManifest(ctx, name, repository.Push{Body: text, Tags: []string{tag}})
}

// dying is a storage whose process is killed at its n-th change: nothing happens any more.
type dying struct {
	repository.Storage
	left atomic.Int64
}

var errDead = errors.New("killed")

func (d *dying) change() error {
	if d.left.Add(-1) < 0 {
		return errDead
	}
	return nil
}

func (d *dying) Put(ctx context.Context, key string, r io.Reader, size int64) error {
	if err := d.change(); err != nil {
		return err
	}
	return d.Storage.Put(ctx, key, r, size)
}

func (d *dying) Assemble(ctx context.Context, from []string, to string) error {
	if err := d.change(); err != nil {
		return err
	}
	return d.Storage.Assemble(ctx, from, to)
}

// Delete dies in the middle of its list, too.
func (d *dying) Delete(ctx context.Context, keys ...string) error {
	for _, key := range keys {
		if err := d.change(); err != nil {
			return err
		}
		if err := d.Storage.Delete(ctx, key); err != nil {
			return err
		}
	}
	return nil
}

// TestCrashAtEveryStep kills a push, a deletion and a collection before each change they make. Whatever is named
// afterwards is whole, the deed can be done again, and a collection brings back every byte.
func TestCrashAtEveryStep(t *testing.T) {
	chunked := func(ctx context.Context, s *repository.Store) error {
		var blobs []ocispec.Descriptor
		for i := range 2 {
			content := fmt.Appendf(nil, "layer %d", i)
			d := ocispec.Descriptor{Digest: digest.FromBytes(content), Size: int64(len(content))}
			id, err := s.Start(ctx, "r")
			if err != nil {
				return err
			}
			for _, part := range [][]byte{content[:3], content[3:]} {
				if _, err := s.Append(ctx, "r", id, body(part)); err != nil {
					return err
				}
			}
			if err := s.Finish(ctx, "r", id, d.Digest, body(nil)); err != nil {
				return err
			}
			blobs = append(blobs, d)
		}
		_, err := s.PutManifest(ctx, "r", repository.Push{Tags: []string{"new"}, Body: fmt.Appendf(nil,
			`{"schemaVersion":2,"mediaType":%q,"config":{"digest":%q,"size":7},"layers":[{"digest":%q,"size":7}],"subject":{"digest":%q,"size":1}}`,
			ocispec.MediaTypeImageManifest, blobs[0].Digest, blobs[1].Digest, digest.FromString("subject"))})
		return err
	}
	for name, deed := range map[string]func(ctx context.Context, s *repository.Store) error{
		"push": chunked,
		"delete": func(ctx context.Context, s *repository.Store) error {
			err := s.DeleteManifest(ctx, "r", digestOf(ctx, s, "old"))
			if errdefs.IsNotFound(err) {
				err = nil
			}
			return err
		},
		"collect": func(ctx context.Context, s *repository.Store) error {
			c := now
			c.Untagged = true
			_, err := s.Collect(ctx, c)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			for step := int64(0); ; step++ {
				if !crashAt(t, step, deed) {
					t.Logf("%d steps", step)
					if step < 2 {
						t.Error("the deed was never interrupted")
					}
					return
				}
			}
		})
	}
}

func digestOf(ctx context.Context, s *repository.Store, tag string) string {
	m, err := s.Manifest(ctx, "r", tag)
	if err != nil {
		return digest.FromString("none").String()
	}
	return m.Digest.String()
}

// crashAt tells whether the deed was interrupted.
func crashAt(t *testing.T, step int64, deed func(ctx context.Context, s *repository.Store) error) bool {
	t.Helper()
	storage, err := local.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	config := repository.Config{UploadExpiry: time.Nanosecond}
	s := over(t, storage, config)
	push(t, s, "r", "old", "old", 2)
	push(t, s, "r", "", "untagged", 2)
	push(t, s, "other", "kept", "old", 1)
	time.Sleep(2 * time.Millisecond)
	mortal := &dying{Storage: storage}
	mortal.left.Store(1 << 40)
	doomed := over(t, mortal, config)
	mortal.left.Store(step)
	first := deed(t.Context(), doomed)
	if first != nil && !errors.Is(first, errDead) {
		t.Fatalf("step %d: %v", step, first)
	}
	check := func(when string) {
		for _, name := range []string{"r", "other"} {
			tags, _, err := s.Tags(t.Context(), name, "", -1)
			if err != nil {
				t.Errorf("step %d, %s: %v", step, when, err)
			}
			for _, tag := range tags {
				if err := whole(t.Context(), s, name, tag); err != nil {
					t.Errorf("step %d, %s: %s:%s: %v", step, when, name, tag, err)
				}
			}
		}
	}
	check("after the crash")
	forgetRuns(t, storage)
	if err := deed(t.Context(), s); err != nil {
		t.Errorf("step %d, once more: %v", step, err)
	}
	check("once more")
	for _, name := range []string{"r", "other"} {
		tags, _, err := s.Tags(t.Context(), name, "", -1)
		if err != nil {
			t.Fatal(err)
		}
		for _, tag := range tags {
			if err := s.DeleteManifest(t.Context(), name, tag); err != nil {
				t.Error(err)
			}
		}
	}
	time.Sleep(2 * time.Millisecond)
	c := now
	c.Untagged = true
	for range 2 {
		if _, err := s.Collect(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Millisecond)
	}
	left, err := storage.List(t.Context(), "", "", 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range left {
		if o.Key != "FORMAT" {
			t.Errorf("step %d: %s is left", step, o.Key)
		}
	}
	return first != nil
}

// forgetRuns does what time does: the list of a collection that was killed is not heeded for ever.
func forgetRuns(t *testing.T, storage repository.Storage) {
	t.Helper()
	runs, err := storage.List(t.Context(), "doomed/", "", 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range runs {
		if err := storage.Delete(t.Context(), o.Key); err != nil {
			t.Fatal(err)
		}
	}
}

// unheard is a storage whose answers to the removal of blobs are lost.
type unheard struct{ repository.Storage }

func (u unheard) Delete(ctx context.Context, keys ...string) error {
	if len(keys) > 0 && strings.HasPrefix(keys[0], "blobs/") {
		return fmt.Errorf("no answer: %w", errdefs.ErrUnavailable)
	}
	return u.Storage.Delete(ctx, keys...)
}

// TestDeletionThatMayStillCome: what a store was told to remove, and may yet, nobody comes to rely on for as long.
func TestDeletionThatMayStillCome(t *testing.T) {
	s, storage := open(t, repository.Config{})
	d, err := put(t.Context(), s, "r", []byte("content"))
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(10 * time.Millisecond)
	if _, err := over(t, unheard{storage}, repository.Config{}).Collect(t.Context(), now); !errdefs.IsUnavailable(err) {
		t.Fatalf("collect: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := put(ctx, s, "r", []byte("content")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("push of what may still be removed: %v", err)
	}
	forgetRuns(t, storage)
	if err := storage.Delete(t.Context(), "blobs/sha256/"+d.Digest.Encoded()); err != nil {
		t.Fatal(err)
	}
	if _, err := put(t.Context(), s, "r", []byte("content")); err != nil {
		t.Errorf("push afterwards: %v", err)
	}
}
