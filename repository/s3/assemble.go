package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/containerd/errdefs"
	"github.com/minio/minio-go/v7"
	"golang.org/x/sync/errgroup"
)

// span is a stretch of one source.
type span struct {
	source    int
	offset, n int64
}

// plan cuts sources into the parts of a multipart upload: a part of one span is copied inside the store; one of several, made of
// pieces too small to be parts, is fetched and sent. Every part but the last has at least least bytes and at most most.
func plan(sizes []int64, least, most int64) [][]span {
	var parts [][]span
	var small []span
	have := int64(0) // bytes in small
	for i, size := range sizes {
		at := int64(0)
		if have > 0 {
			n := min(least-have, size)
			if n > 0 {
				small, have, at = append(small, span{i, 0, n}), have+n, n
			}
			if have == least {
				parts, small, have = append(parts, small), nil, 0
			}
		}
		for size-at >= least {
			n := min(size-at, most)
			if left := size - at - n; left > 0 && left < least {
				n -= least // the next is then large enough to be copied too
			}
			parts, at = append(parts, []span{{i, at, n}}), at+n
		}
		if size > at {
			small, have = append(small, span{i, at, size - at}), have+size-at
		}
	}
	if have > 0 {
		parts = append(parts, small)
	}
	return parts
}

// source is an object that goes into another.
type source struct {
	key, etag string
	size      int64
}

// Assemble makes an object of others, one after another, by copies inside the store as far as its rules allow. A store that cannot copy
// has the bytes sent through here instead.
func (s *Store) Assemble(ctx context.Context, from []string, to string) error {
	sources := make([]source, len(from))
	sizes := make([]int64, len(from))
	total := int64(0)
	group, stat := errgroup.WithContext(ctx)
	group.SetLimit(2 * parallel)
	for i, key := range from {
		group.Go(func() error {
			info, err := s.stat(stat, key)
			sources[i], sizes[i] = source{key, info.ETag, info.Size}, info.Size
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return fmt.Errorf("assemble %s: %w", s.name(to), err)
	}
	for _, n := range sizes {
		total += n
	}
	parts := plan(sizes, least, maxCopy)
	inside := errors.ErrUnsupported
	switch {
	case len(parts) == 1 && len(parts[0]) == 1:
		inside = s.copyWhole(ctx, sources[parts[0][0].source], to)
	case len(parts) > 1 && len(parts) <= maxParts:
		inside = s.copyParts(ctx, sources, parts, to, total)
	}
	if inside == nil || errdefs.IsNotFound(inside) || ctx.Err() != nil {
		return inside
	}
	// Whatever it was that the store would not copy, it may still take the bytes.
	all := &chain{s: s, ctx: ctx, sources: sources}
	defer all.close()
	if err := s.Put(ctx, to, all, total); err != nil {
		return fmt.Errorf("assemble %s: %w", s.name(to), err)
	}
	return nil
}

// copyWhole copies an object inside the store, in one call, and looks whether it was done: there are stores that pretend.
func (s *Store) copyWhole(ctx context.Context, from source, to string) error {
	err := s.try(ctx, "copy", from.key, func() error {
		done, err := s.core.CopyObject(ctx, s.bucket, s.prefix+from.key, s.bucket, s.prefix+to, from.same(), minio.CopySrcOptions{}, minio.PutObjectOptions{})
		if err == nil && done.ETag == "" {
			err = errSilent // an error behind a 200 comes like this
		}
		return err
	})
	if err != nil {
		return err
	}
	if info, err := s.stat(ctx, to); err != nil && !errdefs.IsNotFound(err) {
		return err
	} else if info.Size != from.size {
		return fmt.Errorf("%s has %d bytes, its copy %s %d: %w", s.name(from.key), from.size, s.name(to), info.Size, errdefs.ErrInternal)
	}
	return nil
}

// same makes a copy fail when the source was written anew.
func (f source) same() map[string]string {
	if f.etag == "" {
		return nil
	}
	return map[string]string{"x-amz-copy-source-if-match": f.etag}
}

// copyParts assembles inside the store.
func (s *Store) copyParts(ctx context.Context, sources []source, parts [][]span, to string, total int64) error {
	u, err := s.begin(ctx, to)
	if err != nil {
		return err
	}
	for range parts {
		u.next()
	}
	group, copying := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for i, spans := range parts {
		group.Go(func() error {
			if len(spans) > 1 {
				return u.merge(copying, i+1, sources, spans)
			}
			return u.copySpan(copying, i+1, sources[spans[0].source], spans[0])
		})
	}
	if err = group.Wait(); err == nil {
		err = u.verify(ctx, parts)
	}
	if err != nil {
		return errors.Join(err, u.giveUp(ctx))
	}
	return u.complete(ctx, total)
}

func (u *upload) copySpan(ctx context.Context, n int, from source, sp span) error {
	return u.s.try(ctx, "copy", from.key, func() error {
		part, err := u.s.core.CopyObjectPart(ctx, u.s.bucket, u.s.prefix+from.key, u.s.bucket, u.s.prefix+u.key, u.id, n, sp.offset, sp.n, from.same())
		if err == nil && part.ETag == "" {
			err = errSilent // as above
		}
		if err == nil {
			u.arrived(n, part.ETag)
		}
		return err
	})
}

// merge makes a part of several small pieces.
func (u *upload) merge(ctx context.Context, n int, sources []source, spans []span) error {
	var data bytes.Buffer
	for _, sp := range spans {
		r, _, err := u.s.Open(ctx, sources[sp.source].key, sp.offset)
		if err != nil {
			return err
		}
		_, err = io.CopyN(&data, r, sp.n)
		r.Close()
		if err != nil {
			return fmt.Errorf("read %s: %w", u.s.name(sources[sp.source].key), err)
		}
	}
	return u.send(ctx, n, data.Bytes())
}

// verify asks the store what the parts hold, before anybody can see them: there are stores that take a copy for an upload of nothing.
func (u *upload) verify(ctx context.Context, parts [][]span) error {
	marker := 0
	for {
		var page minio.ListObjectPartsResult
		err := u.s.try(ctx, "list parts of", u.key, func() (err error) {
			page, err = u.s.core.ListObjectParts(ctx, u.s.bucket, u.s.prefix+u.key, u.id, marker, 1000)
			return err
		})
		if err != nil {
			return err
		}
		for _, p := range page.ObjectParts {
			if p.PartNumber != marker+1 || p.PartNumber > len(parts) {
				return fmt.Errorf("part %d of %s is not where it was put: %w", marker+1, u.s.name(u.key), errdefs.ErrInternal)
			}
			want := int64(0)
			for _, sp := range parts[marker] {
				want += sp.n
			}
			if p.Size != want {
				return fmt.Errorf("part %d of %s has %d bytes, not %d: %w", p.PartNumber, u.s.name(u.key), p.Size, want, errdefs.ErrInternal)
			}
			marker++
		}
		if marker == len(parts) {
			return nil
		}
		if !page.IsTruncated || len(page.ObjectParts) == 0 {
			return fmt.Errorf("%s has %d parts, not %d: %w", u.s.name(u.key), marker, len(parts), errdefs.ErrInternal)
		}
	}
}

// chain reads sources one after another.
type chain struct {
	s       *Store
	ctx     context.Context // of the call that reads
	sources []source
	now     io.ReadCloser
}

func (c *chain) Read(p []byte) (int, error) {
	for {
		if c.now == nil {
			if len(c.sources) == 0 {
				return 0, io.EOF
			}
			r, o, err := c.s.Open(c.ctx, c.sources[0].key, 0)
			if err != nil {
				return 0, err
			}
			if o.Size != c.sources[0].size {
				r.Close()
				return 0, fmt.Errorf("%s was written anew meanwhile: %w", c.s.name(o.Key), errdefs.ErrConflict)
			}
			c.now, c.sources = r, c.sources[1:]
		}
		n, err := c.now.Read(p)
		if errors.Is(err, io.EOF) {
			c.close()
			err = nil
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

func (c *chain) close() {
	if c.now != nil {
		c.now.Close()
		c.now = nil
	}
}
