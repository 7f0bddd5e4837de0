package share

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cove-containers/cove/archive"
	"github.com/cove-containers/cove/build/step"
	"github.com/cove-containers/cove/cache"
	"github.com/cove-containers/cove/image"
)

// mountNote marks, among the layers of a cache, the content of a cache mount, and names it.
const mountNote = "io.cove.cache-mount"

// errAbsent keeps a folder from being made that is only to be read.
var errAbsent = errors.New("there is no such cache mount")

// mountsOf lists the cache mounts of steps that begin with nothing: those that begin as an image or a stage are what they are by layers,
// which have other names elsewhere.
func mountsOf(steps []step.Done) []string {
	var ids []string
	for _, d := range steps {
		for _, m := range d.Op.GetExec().GetMounts() {
			if m.CacheOpt != nil && m.Input < 0 {
				ids = append(ids, m.CacheOpt.ID)
			}
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// packMounts makes blobs of the cache mounts of steps, as far as they are there.
func (s *Sharer) packMounts(ctx context.Context, env *step.Env, hold *image.Lease, steps []step.Done) ([]ocispec.Descriptor, error) {
	var out []ocispec.Descriptor
	if s.Mounts == nil {
		return nil, nil
	}
	for _, id := range mountsOf(steps) {
		d, err := s.packMount(ctx, env, hold, id)
		if errors.Is(err, errAbsent) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("export cache mount %q: %w", id, err)
		}
		out = append(out, d)
	}
	return out, nil
}

func (s *Sharer) packMount(ctx context.Context, env *step.Env, hold *image.Lease, id string) (d ocispec.Descriptor, err error) {
	m, err := s.Mounts.Take(ctx, cache.MountRequest{Key: id, Description: fmt.Sprintf("cached mount %q", id), Fill: func(dir *os.File) error {
		fill := env.Imported(id) // what the build has imported and its steps did not need goes on
		if fill == nil {
			return errAbsent
		}
		if err := fill(ctx, dir); err != nil {
			return fmt.Errorf("%w: %w", errAbsent, err)
		}
		return nil
	}})
	if err != nil {
		return d, err
	}
	defer m.Release()
	defer env.Part("packing cache mount " + id)()
	dir, err := os.Open(m.Dir)
	if err != nil {
		return d, err
	}
	defer dir.Close()
	w, err := s.Blobs.New()
	if err != nil {
		return d, err
	}
	defer w.Close()
	z := archive.Compress(w)
	err = archive.Pack(ctx, z, dir, archive.PackOptions{})
	if closed := z.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return d, err
	}
	d = ocispec.Descriptor{
		MediaType: ocispec.MediaTypeImageLayerGzip, Digest: w.Digest(), Size: w.Offset(), Annotations: map[string]string{mountNote: id},
	}
	hold.Add(d.Digest)
	return d, w.Commit()
}

// Mount implements step.MountFinder. What is fetched is there before any of it is looked at.
func (f *finder) Mount(id string) func(ctx context.Context, env *step.Env, dir *os.File) error {
	d, ok := f.mounts[id]
	if !ok {
		return nil
	}
	return func(ctx context.Context, env *step.Env, dir *os.File) error {
		defer env.Part("restoring cache mount " + id)()
		if err := f.fill(ctx, dir, d); err != nil {
			return fmt.Errorf("import cache mount %q from %s: %w", id, f.name, err)
		}
		return nil
	}
}

// fill fetches and verifies the whole blob before any of it is unpacked.
func (f *finder) fill(ctx context.Context, dir *os.File, d ocispec.Descriptor) error {
	hold := f.of.Images.Lease()
	defer func() {
		hold.Release()
		f.of.sweep(ctx)
	}()
	hold.Add(d.Digest)
	if !f.of.Blobs.Has(d.Digest) {
		r, _, err := f.from.Blob(ctx, d, 0)
		if err != nil {
			return err
		}
		defer r.Close()
		w, err := f.of.Blobs.New()
		if err != nil {
			return err
		}
		defer w.Close()
		if _, err := io.Copy(w, io.LimitReader(r, d.Size+1)); err != nil {
			return err
		}
		if w.Digest() != d.Digest {
			return invalid("what was given for %s is something else", d.Digest)
		}
		if err := w.Commit(); err != nil {
			return err
		}
	}
	blob, _, err := f.of.Blobs.Open(d.Digest)
	if err != nil {
		return err
	}
	defer blob.Close()
	content, err := archive.Decompress(blob)
	if err != nil {
		return err
	}
	defer content.Close()
	_, err = archive.Unpack(ctx, dir, content, archive.Options{})
	return err
}
