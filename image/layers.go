package image

import (
	"context"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/cove-containers/cove/archive"
	"github.com/cove-containers/cove/image/progress"
)

// layerTask is one layer to have: its blob in the store and its tree unpacked.
type layerTask struct {
	desc   ocispec.Descriptor
	diffID digest.Digest
}

func (t layerTask) key() string { return "layer " + t.desc.Digest.String() + " " + t.diffID.String() }

// layerTasks pairs blobs with trees, each pair once however often an image stacks it.
func layerTasks(layers []ocispec.Descriptor, diffIDs []digest.Digest) []layerTask {
	seen := map[[2]digest.Digest]bool{}
	var out []layerTask
	for i, l := range layers {
		key := [2]digest.Digest{l.Digest, diffIDs[i]}
		if !seen[key] {
			out = append(out, layerTask{l, diffIDs[i]})
		}
		seen[key] = true
	}
	return out
}

// layerReport says to a client how layers go on.
func layerReport(out *progress.Reporter) func(layerTask, progress.State, bool) {
	return func(t layerTask, p progress.State, done bool) { out.Layer(t.desc.Digest, p, done) }
}

// haveLayer tells whether nothing is left to do for a layer.
func (s *Store) haveLayer(t layerTask) bool {
	return s.layers.Has(t.diffID) && s.blobs.Has(t.desc.Digest)
}

// ensureLayers fetches and unpacks what is missing, all at once. It fails with the first that fails. report, when set, hears
// how each task goes on, and at last that it is done.
func (s *Store) ensureLayers(ctx context.Context, src *source, tasks []layerTask, report func(layerTask, progress.State, bool)) error {
	group, gctx := errgroup.WithContext(ctx)
	for _, t := range tasks {
		group.Go(func() error {
			var watch func(progress.State)
			if report != nil {
				watch = func(p progress.State) { report(t, p, false) }
			}
			if err := s.ensureLayer(gctx, src, t, watch); err != nil {
				return err
			}
			if report != nil {
				report(t, progress.State{}, true)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		for _, t := range tasks {
			s.jobs.Settle(ctx, t.key(), blobKey(t.desc.Digest))
		}
		return err
	}
	return nil
}

// prepare makes an image's unpacked layers fit on one another.
func (s *Store) prepare(ctx context.Context, layers []ocispec.Descriptor, diffIDs []digest.Digest) error {
	return s.layers.Prepare(ctx, diffIDs, func(_ context.Context, diffID digest.Digest) (io.ReadCloser, error) {
		for _, t := range layerTasks(layers, diffIDs) {
			if t.diffID == diffID {
				return s.openLayer(t.desc.Digest)
			}
		}
		return nil, fmt.Errorf("layer %s is not of this image", diffID)
	})
}

// unpackAll has all layers of an image, fetched, unpacked and fit for lying on one another. Their lease is held: so what a
// sweep that had begun before takes away under its hands, it makes once more.
func (s *Store) unpackAll(ctx context.Context, src *source, layers []ocispec.Descriptor, diffIDs []digest.Digest, report func(layerTask, progress.State, bool)) error {
	for again := false; ; again = true {
		var todo []layerTask
		for _, t := range layerTasks(layers, diffIDs) {
			if !s.haveLayer(t) {
				todo = append(todo, t)
			}
		}
		if err := s.ensureLayers(ctx, src, todo, report); err != nil {
			return err
		}
		err := s.prepare(ctx, layers, diffIDs)
		if err == nil {
			s.remember(layers, diffIDs)
		}
		if !errdefs.IsNotFound(err) || again {
			return err
		}
	}
}

// fetchAll has the blobs of all layers of an image for another operating system, as they are.
func (s *Store) fetchAll(ctx context.Context, src *source, tasks []layerTask, report func(layerTask, progress.State, bool)) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, t := range tasks {
		group.Go(func() error {
			err := s.fetch(ctx, src, t.desc, func(p progress.State) { report(t, p, false) })
			if err == nil {
				report(t, progress.State{}, true)
			}
			return err
		})
	}
	return group.Wait()
}

// openLayer opens the plain tar of a layer whose blob is in the store.
func (s *Store) openLayer(d digest.Digest) (io.ReadCloser, error) {
	f, _, err := s.blobs.Open(d)
	if err != nil {
		return nil, err
	}
	plain, err := archive.Decompress(f)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("open layer %s: %w", d, err)
	}
	return &both{plain, f}, nil
}

// both closes what decompresses and then what it reads from.
type both struct {
	io.ReadCloser
	under io.Closer
}

func (b *both) Close() error {
	b.ReadCloser.Close()
	return b.under.Close()
}

// ensureLayer has one layer: it unpacks from the blob while that is still arriving.
func (s *Store) ensureLayer(ctx context.Context, src *source, t layerTask, watch func(progress.State)) error {
	if s.haveLayer(t) {
		return nil
	}
	if s.layers.Has(t.diffID) {
		return s.fetch(ctx, src, t.desc, watch)
	}
	return s.jobs.Do(ctx, t.key(), watch, func(ctx context.Context, report func(progress.State)) error {
		var fetched atomic.Bool
		group, ctx := errgroup.WithContext(ctx)
		group.Go(func() error {
			err := s.fetch(ctx, src, t.desc, report)
			fetched.Store(err == nil)
			return err
		})
		group.Go(func() error { return s.unpack(ctx, t, &fetched, report) })
		return group.Wait()
	})
}

// unpack reads the blob from its beginning, wherever its download is, and applies it.
func (s *Store) unpack(ctx context.Context, t layerTask, fetched *atomic.Bool, report func(progress.State)) error {
	reading, stop := context.WithCancel(ctx)
	raw, err := s.blobs.Follow(reading, t.desc.Digest)
	if err != nil {
		stop()
		return err
	}
	counted := &counter{r: raw, total: t.desc.Size, shown: fetched, report: report}
	ahead := archive.ReadAhead(counted)
	defer func() {
		stop() // a read that waits for the download must return before the read-ahead can end
		ahead.Close()
		raw.Close()
	}()
	done, err := s.unpacks.Take(ctx)
	if err != nil {
		return err
	}
	defer done()
	plain, err := archive.Decompress(ahead)
	if err != nil {
		return fmt.Errorf("layer %s: %w", t.desc.Digest, err)
	}
	defer plain.Close()
	if _, err := s.layers.Apply(ctx, t.diffID, drained{plain, ahead}); err != nil {
		return fmt.Errorf("failed to register layer %s: %w", t.desc.Digest, err)
	}
	return nil
}

// drained reads its source to the end after the plain content has ended: only then it is known that all was verified.
type drained struct{ plain, source io.Reader }

func (d drained) Read(p []byte) (int, error) {
	n, err := d.plain.Read(p)
	if err == io.EOF {
		if _, err := io.Copy(io.Discard, d.source); err != nil {
			return n, err
		}
	}
	return n, err
}

// counter reports what has been read as extracted, once the download no longer speaks for the layer.
type counter struct {
	r      io.Reader
	n      int64
	total  int64
	last   time.Time
	shown  *atomic.Bool
	report func(progress.State)
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	if now := time.Now(); c.shown.Load() && now.Sub(c.last) > reportEvery {
		c.last = now
		c.report(progress.State{Stage: progress.Extracting, Current: c.n, Total: c.total})
	}
	return n, err
}

// Unpacked makes sure that the layers of img are unpacked and fit on one another; the blobs must be here. It is quick when
// all is done. An image for another operating system is errdefs.ErrInvalidArgument.
func (s *Store) Unpacked(ctx context.Context, img *Image) error {
	if err := runnable(&img.Config); err != nil {
		return err
	}
	if err := s.prepared(ctx, img); err == nil || !errdefs.IsNotFound(err) {
		return err
	}
	hold := s.Lease()
	defer hold.Release()
	hold.Add(img.DiffIDs...)
	for _, l := range img.Layers {
		hold.Add(l.Digest)
	}
	if err := s.unpackAll(ctx, nil, img.Layers, img.DiffIDs, nil); err != nil {
		return fmt.Errorf("unpack image %s: %w", img.Name(), err)
	}
	return nil
}

// prepared is Unpacked for an image that has all its layers; else it is errdefs.ErrNotFound.
func (s *Store) prepared(ctx context.Context, img *Image) error {
	for _, d := range img.DiffIDs {
		if !s.layers.Has(d) {
			return errdefs.ErrNotFound
		}
	}
	return s.prepare(ctx, img.Layers, img.DiffIDs)
}
