package image

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/containerd/errdefs"
	js "github.com/moby/moby/api/types/jsonstream"
	"github.com/opencontainers/go-digest"

	"github.com/cove-containers/cove/blob"
	"github.com/cove-containers/cove/remote"
	"github.com/cove-containers/cove/state"
	"github.com/cove-containers/cove/testkit"
)

// trees is a keeper of layers that keeps none, but checks them as the real one does.
type trees struct {
	mu      sync.Mutex
	have    map[digest.Digest]int64
	applied []digest.Digest
	stacks  [][]digest.Digest
}

func newTrees() *trees { return &trees{have: map[digest.Digest]int64{}} }

func (f *trees) Has(d digest.Digest) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, ok := f.have[d]
	return ok
}

func (f *trees) Size(d digest.Digest) int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.have[d]
}

func (f *trees) Apply(ctx context.Context, diffID digest.Digest, r io.Reader) (int64, error) {
	sum := digest.SHA256.Digester()
	t := tar.NewReader(io.TeeReader(r, sum.Hash()))
	for {
		h, err := t.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return 0, err
		}
		if filepath.Base(h.Name) == ".wh.." {
			return 0, fmt.Errorf("invalid whiteout %q: %w", h.Name, errdefs.ErrInvalidArgument)
		}
	}
	n, err := io.Copy(sum.Hash(), r)
	if err != nil {
		return 0, err
	}
	if got := sum.Digest(); got != diffID {
		return 0, fmt.Errorf("layer has diff ID %s, the config says %s: %w", got, diffID, errdefs.ErrInvalidArgument)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.have[diffID] = n + 1
	f.applied = append(f.applied, diffID)
	return n, ctx.Err()
}

func (f *trees) Prepare(ctx context.Context, diffIDs []digest.Digest, reopen func(context.Context, digest.Digest) (io.ReadCloser, error)) error {
	for _, d := range diffIDs {
		if !f.Has(d) {
			return fmt.Errorf("layer %s is not there: %w", d, errdefs.ErrNotFound)
		}
		r, err := reopen(ctx, d)
		if err != nil {
			return err
		}
		sum, err := digest.FromReader(r)
		if err := errors.Join(err, r.Close()); err != nil || sum != d {
			return fmt.Errorf("reopened layer %s reads as %s: %w", d, sum, err)
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stacks = append(f.stacks, diffIDs)
	return nil
}

func (f *trees) Space(context.Context) (map[digest.Digest]int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.have), nil
}

func (f *trees) Unwanted(keep func(digest.Digest) bool) []digest.Digest {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.DeleteFunc(slices.Collect(maps.Keys(f.have)), keep)
}

func (f *trees) Verify(context.Context, digest.Digest, io.Reader, func() error) ([]string, error) {
	return nil, nil
}

func (f *trees) Sweep(keep func(digest.Digest) bool) (int, int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	removed, freed := 0, int64(0)
	for d, n := range f.have {
		if !keep(d) {
			delete(f.have, d)
			removed++
			freed += n
		}
	}
	return removed, freed, nil
}

// bench is a store with everything around it.
type bench struct {
	*Store
	t      *testing.T
	dir    string
	db     *state.DB
	trees  *trees
	users  []User
	events []string
	mu     sync.Mutex
}

func open(t *testing.T) *bench {
	t.Helper()
	b := &bench{t: t, dir: t.TempDir(), trees: newTrees()}
	b.start()
	t.Cleanup(b.stop)
	return b
}

func (b *bench) start() {
	b.t.Helper()
	db, err := state.Open(filepath.Join(b.dir, "cove.db"))
	if err != nil {
		b.t.Fatal(err)
	}
	blobs, err := blob.Open(b.dir)
	if err != nil {
		b.t.Fatal(err)
	}
	reg, err := remote.New(remote.Config{})
	if err != nil {
		b.t.Fatal(err)
	}
	b.db = db
	b.Store, err = Open(db, blobs, reg, b.trees, func(action, id string, attrs map[string]string) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.events = append(b.events, action+" "+attrs["name"])
	})
	if err != nil {
		b.t.Fatal(err)
	}
	b.SetUsers(func() []User { return b.users })
	b.jobs.Wait() // the sweep after a start
}

func (b *bench) stop() {
	b.Close()
	b.remote.Close()
	b.db.Close()
}

// restart is a daemon that was killed and came back.
func (b *bench) restart() {
	b.t.Helper()
	b.stop()
	b.start()
}

// empty fails unless nothing at all is left.
func (b *bench) empty() {
	b.t.Helper()
	left, _ := b.blobs.List()
	parts, _ := os.ReadDir(filepath.Join(b.dir, "ingest"))
	pulls, _ := b.pulls.All()
	if len(left)+len(parts)+len(pulls)+len(b.trees.have)+len(b.names.snapshot()) > 0 {
		b.t.Errorf("left behind: blobs %v, parts %v, pulls %v, layers %v, names %v", left, parts, pulls, b.trees.have, b.names.snapshot())
	}
}

func (b *bench) pull(reference string) (*Image, string, error) {
	var said strings.Builder
	img, err := b.Pull(b.t.Context(), reference, PullOptions{Progress: collect(&said)})
	return img, said.String(), err
}

func (b *bench) mustPull(reference string) *Image {
	b.t.Helper()
	img, _, err := b.pull(reference)
	if err != nil {
		b.t.Fatalf("pull %s: %v", reference, err)
	}
	return img
}

func (b *bench) load(archive []byte) (string, error) {
	var said strings.Builder
	err := b.Load(b.t.Context(), bytes.NewReader(archive), LoadOptions{Quiet: true, Progress: collect(&said)})
	return said.String(), err
}

func (b *bench) mustLoad(archive []byte) string {
	b.t.Helper()
	said, err := b.load(archive)
	if err != nil {
		b.t.Fatal(err)
	}
	return said
}

func collect(into *strings.Builder) func(js.Message) {
	return func(m js.Message) {
		if m.ID != "" {
			into.WriteString(m.ID + ": ")
		}
		into.WriteString(m.Stream + m.Status)
		if m.Status != "" {
			into.WriteString("\n")
		}
	}
}

func registry(t *testing.T, f testkit.Faults) *testkit.Registry {
	t.Helper()
	r, err := testkit.NewRegistry("127.0.0.1:0", f, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

func craft(t *testing.T, recipe string) *testkit.Image {
	t.Helper()
	im, err := testkit.Craft(recipe, nil)
	if err != nil {
		t.Fatal(err)
	}
	return im
}

func archived(t *testing.T, recipe, name string) []byte {
	t.Helper()
	a, err := craft(t, recipe).DockerArchive(name)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func gets(r *testkit.Registry, d digest.Digest) int {
	n := 0
	for _, l := range r.Log() {
		if l.Method == "GET" && strings.HasSuffix(l.Path, d.String()) && l.Status < 300 {
			n++
		}
	}
	return n
}

func mention(t *testing.T, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("succeeded, wanted a failure that mentions %q", words)
		return
	}
	for _, w := range words {
		if !strings.Contains(strings.ToLower(err.Error()), strings.ToLower(w)) {
			t.Errorf("error %q does not mention %q", err, w)
		}
	}
}
