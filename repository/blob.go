package repository

import (
	"context"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
)

// StatBlob tells the size of a blob of the repository. Who asks means to use it: a blob that nobody pushed or asked for
// in a while is given a new grace time.
func (s *Store) StatBlob(ctx context.Context, name string, d digest.Digest) (int64, error) {
	if err := check(name, d); err != nil {
		return 0, err
	}
	link, err := s.storage.Stat(ctx, linkKey(name, d))
	if err != nil {
		return 0, as(BlobUnknown, err)
	}
	size, err := s.sizeOf(ctx, d)
	if err != nil {
		return 0, as(BlobUnknown, err)
	}
	if s.now().Sub(link.Modified) > s.config.Grace/2 {
		return size, s.link(ctx, name, d, nil)
	}
	return size, nil
}

// OpenBlob opens a blob of the repository from offset on and tells the size of the whole.
func (s *Store) OpenBlob(ctx context.Context, name string, d digest.Digest, offset int64) (io.ReadCloser, int64, error) {
	if err := check(name, d); err != nil {
		return nil, 0, err
	}
	if _, err := s.storage.Stat(ctx, linkKey(name, d)); err != nil {
		return nil, 0, as(BlobUnknown, err)
	}
	r, o, err := s.storage.Open(ctx, blobKey(d), offset)
	return r, o.Size, as(BlobUnknown, err)
}

// DeleteBlob takes a blob out of the repository.
func (s *Store) DeleteBlob(ctx context.Context, name string, d digest.Digest) error {
	if err := check(name, d); err != nil {
		return err
	}
	if _, err := s.storage.Stat(ctx, linkKey(name, d)); err != nil {
		return as(BlobUnknown, err)
	}
	return s.storage.Delete(ctx, holderKey(d, name), linkKey(name, d))
}

// Mount puts a blob of another repository into name: of from, or where that is "" of any one for which may says yes.
// errdefs.ErrNotFound says that there is none to be had.
func (s *Store) Mount(ctx context.Context, name string, d digest.Digest, from string, may func(name string) bool) error {
	if err := check(name, d); err != nil {
		return err
	}
	sources := []string{from}
	if from == "" {
		found, err := s.storage.List(ctx, "holders/"+d.String()+"/", "", 100)
		if err != nil {
			return err
		}
		sources = nil
		for _, o := range found {
			sources = append(sources, nameIn(o.Key[len("holders/"):]))
		}
	} else if err := CheckName(from); err != nil {
		return err
	}
	for _, source := range sources {
		if !may(source) {
			continue
		}
		_, err := s.StatBlob(ctx, source, d)
		if errdefs.IsNotFound(err) {
			continue
		}
		if err != nil {
			return err
		}
		if err := s.admit(ctx, name, d); err != nil {
			return err
		}
		return as(BlobUnknown, s.link(ctx, name, d, nil))
	}
	return &Error{BlobUnknown, fmt.Errorf("no blob %s to be mounted: %w", d, errdefs.ErrNotFound)}
}

// link makes the repository have a blob that is in the storage, in a way that no collection under way takes it again.
// store, if there is one, puts the blob there once more when one did.
func (s *Store) link(ctx context.Context, name string, d digest.Digest, store func() error) error {
	for range 10 {
		if there, err := s.exists(ctx, blobKey(d)); err != nil {
			return err
		} else if !there && store == nil {
			return fmt.Errorf("blob %s: %w", d, errdefs.ErrNotFound)
		}
		both := []string{holderKey(d, name), linkKey(name, d)}
		if err := parallel(ctx, both, func(ctx context.Context, key string) error { return s.write(ctx, key, "") }); err != nil {
			return err
		}
		if err := s.settle(ctx, linkKey(name, d), blobKey(d)); err != nil {
			return err
		}
		there, err := s.has(ctx, name, d)
		if err != nil || there {
			return err
		}
		if store == nil {
			continue
		}
		if blob, err := s.exists(ctx, blobKey(d)); err != nil {
			return err
		} else if !blob {
			if err := store(); err != nil {
				return err
			}
		}
	}
	return fmt.Errorf("link blob %s: garbage collections keep taking it: %w", d, errdefs.ErrUnavailable)
}

// has tells whether the repository has a blob: the link alone does not say so, one is left where a blob could not be linked.
func (s *Store) has(ctx context.Context, name string, d digest.Digest) (bool, error) {
	var missing atomic.Bool
	err := parallel(ctx, []string{linkKey(name, d), blobKey(d)}, func(ctx context.Context, key string) error {
		there, err := s.exists(ctx, key)
		if !there {
			missing.Store(true)
		}
		return err
	})
	return err == nil && !missing.Load(), err
}

// sizeOf is the size of a blob that is in the storage.
func (s *Store) sizeOf(ctx context.Context, d digest.Digest) (int64, error) {
	o, err := s.storage.Stat(ctx, blobKey(d))
	if err == nil {
		s.sizes.set(d, o.Size)
	}
	return o.Size, err
}
