package s3

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/minio/minio-go/v7"
	"golang.org/x/sync/errgroup"
)

// Put stores what r gives. A small object goes in one call; a large one in parts, of which each put holds one in memory and more as
// long as the store's buffers last: so a slow client stands in nobody's way, and many of them cost a part each.
func (s *Store) Put(ctx context.Context, key string, r io.Reader, size int64) error {
	if size > maxPut {
		return fmt.Errorf("write %s: %d bytes are more than one S3 object holds: %w", s.name(key), size, errdefs.ErrInvalidArgument)
	}
	part := int64(partSize)
	if size > part*maxParts {
		part = (size + maxParts - 1) / maxParts
	}
	exact := r
	if size >= 0 {
		exact = io.LimitReader(r, size+1) // one more, to notice a source that is too long
	}
	hint := int64(32 << 10)
	if size >= 0 {
		hint = min(size+1, 1<<20)
	}
	first, err := readPart(exact, part, hint)
	if err != nil {
		return fmt.Errorf("write %s: %w", s.name(key), err)
	}
	if int64(len(first)) < part {
		if size >= 0 && int64(len(first)) != size {
			return s.wrongSize(key, int64(len(first)), size)
		}
		return s.putWhole(ctx, key, first)
	}
	u, err := s.begin(ctx, key)
	if err != nil {
		return err
	}
	total, err := u.fill(ctx, first, exact, part)
	if err == nil && size >= 0 && total != size {
		err = s.wrongSize(key, total, size)
	}
	if err == nil {
		return u.complete(ctx, total)
	}
	return errors.Join(err, u.giveUp(ctx))
}

func (s *Store) wrongSize(key string, got, want int64) error {
	if got > want {
		return fmt.Errorf("write %s: more than the %d bytes announced: %w", s.name(key), want, errdefs.ErrFailedPrecondition)
	}
	return fmt.Errorf("write %s: %d bytes of the %d announced: %w: %w", s.name(key), got, want, io.ErrUnexpectedEOF, errdefs.ErrFailedPrecondition)
}

// readPart reads up to n bytes into memory that grows with what comes, from hint on; fewer mean that r has ended.
func readPart(r io.Reader, n, hint int64) ([]byte, error) {
	buf := make([]byte, 0, min(n, hint))
	for int64(len(buf)) < n {
		if len(buf) == cap(buf) {
			buf = append(make([]byte, 0, min(n, 4*int64(cap(buf)))), buf...)
		}
		got, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+got]
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
	}
	return buf, nil
}

// putWhole writes an object in one call. The signed checksum makes the store refuse bytes that were damaged on the way. (What
// minio-go disables by DisableContentSha256 is its own checksum for every 64 KiB, which some stores cannot read for an empty object.)
func (s *Store) putWhole(ctx context.Context, key string, data []byte) error {
	sum := sha256.Sum256(data)
	return s.try(ctx, "write", key, func() error {
		_, err := s.core.PutObject(ctx, s.bucket, s.prefix+key, bytes.NewReader(data), int64(len(data)), "", hex.EncodeToString(sum[:]),
			minio.PutObjectOptions{ContentType: "application/octet-stream", DisableContentSha256: true})
		return err
	})
}

// mark is the metadata by which a completed upload is known again.
const mark = "Cove-Upload"

// upload is a multipart upload: an object in the making, which nobody sees.
type upload struct {
	s       *Store
	key, id string
	mark    string

	mu    sync.Mutex
	parts []minio.CompletePart // in order, numbered from 1; those under way have no ETag yet
}

// next takes the number of one more part.
func (u *upload) next() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.parts = append(u.parts, minio.CompletePart{PartNumber: len(u.parts) + 1})
	return len(u.parts)
}

// arrived notes what the store calls a part.
func (u *upload) arrived(n int, etag string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.parts[n-1].ETag = etag
}

func (s *Store) begin(ctx context.Context, key string) (*upload, error) {
	u := &upload{s: s, key: key, mark: rand.Text()}
	err := s.try(ctx, "begin", key, func() (err error) {
		// An answer that is lost leaves an upload which nobody knows; Expire finds it.
		u.id, err = s.core.NewMultipartUpload(ctx, s.bucket, s.prefix+key, minio.PutObjectOptions{
			ContentType: "application/octet-stream", UserMetadata: map[string]string{mark: u.mark},
		})
		if err == nil && u.id == "" {
			err = errSilent
		}
		return err
	})
	return u, err
}

// fill uploads first and what r still has, reading ahead while parts are on their way; it tells how many bytes there were.
func (u *upload) fill(ctx context.Context, first []byte, r io.Reader, part int64) (int64, error) {
	group, sending := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	total := int64(0)
	var broken error
	for data := first; len(data) > 0; {
		n := u.next()
		if n > maxParts {
			broken = fmt.Errorf("write %s: more than %d bytes, which only works when the size is announced: %w", u.s.name(u.key), total, errdefs.ErrInvalidArgument)
			break
		}
		total += int64(len(data))
		now := data
		if !u.ahead(group, func() error { return u.send(sending, n, now) }) {
			if broken = u.send(sending, n, now); broken != nil {
				break
			}
		}
		if int64(len(data)) < part || sending.Err() != nil {
			break
		}
		if data, broken = readPart(r, part, part); broken != nil {
			broken = fmt.Errorf("write %s: %w", u.s.name(u.key), broken)
			break
		}
	}
	// The first to fail has cancelled the others, so its error is the one to tell.
	if err := group.Wait(); err != nil {
		return total, err
	}
	return total, broken
}

// ahead lets a part go its way while the next is read, if a buffer is free and not too many of this upload are under way.
func (u *upload) ahead(group *errgroup.Group, send func() error) bool {
	select {
	case u.s.buffers <- struct{}{}:
	default:
		return false
	}
	went := group.TryGo(func() error {
		defer func() { <-u.s.buffers }()
		return send()
	})
	if !went {
		<-u.s.buffers
	}
	return went
}

func (u *upload) send(ctx context.Context, n int, data []byte) error {
	sum := sha256.Sum256(data)
	return u.s.try(ctx, "write part of", u.key, func() error {
		done, err := u.s.core.PutObjectPart(ctx, u.s.bucket, u.s.prefix+u.key, u.id, n, bytes.NewReader(data), int64(len(data)),
			minio.PutObjectPartOptions{Sha256Hex: hex.EncodeToString(sum[:]), DisableContentSha256: true})
		if err == nil && done.ETag == "" {
			err = errSilent
		}
		if err == nil {
			u.arrived(n, done.ETag)
		}
		return err
	})
}

// complete makes the object appear. The one call that may not simply be repeated: when it was carried out and only the answer was
// lost, the next says that there is no such upload. Then the object itself tells, by its mark, whether it is ours.
func (u *upload) complete(ctx context.Context, size int64) error {
	key := u.s.prefix + u.key
	err := u.s.try(ctx, "complete", u.key, func() error {
		_, err := u.s.core.CompleteMultipartUpload(ctx, u.s.bucket, key, u.id, u.parts, minio.PutObjectOptions{})
		if err == nil || minio.ToErrorResponse(err).Code != "NoSuchUpload" {
			return err
		}
		info, statErr := u.s.core.StatObject(ctx, u.s.bucket, key, minio.StatObjectOptions{})
		switch {
		case statErr != nil && passing(statErr):
			return statErr
		case statErr == nil && info.Size == size && info.UserMetadata[mark] == u.mark:
			return nil
		}
		return err
	})
	if err == nil {
		return nil
	}
	return errors.Join(err, u.giveUp(ctx))
}

// giveUp takes back the parts, also when the caller has gone.
func (u *upload) giveUp(ctx context.Context) error {
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
	defer stop()
	return u.s.abort(ctx, u.s.prefix+u.key, u.id)
}

// abort ends an upload by its full key; that it has gone already is fine.
func (s *Store) abort(ctx context.Context, key, id string) error {
	err := s.try(ctx, "abort", key, func() error {
		err := s.core.AbortMultipartUpload(ctx, s.bucket, key, id)
		if minio.ToErrorResponse(err).Code == "NoSuchUpload" {
			return nil
		}
		return err
	})
	return err
}
