package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/containerd/errdefs"
	"github.com/minio/minio-go/v7"

	"github.com/cove-containers/cove/repository"
)

// small is up to what size an object is fetched whole before anything of it is given out: tags and records, which are
// written anew all the time, are then always whole.
const small = 64 << 10

// silence is how long a read waits for the next byte before it asks again.
const silence = time.Minute

// Open reads an object from an offset on. The reader goes on by itself where a connection ends too soon; an object that was
// written anew meanwhile ends it with an error, never with a mixture.
func (s *Store) Open(ctx context.Context, key string, offset int64) (io.ReadCloser, repository.Object, error) {
	if offset < 0 {
		return nil, repository.Object{}, fmt.Errorf("read %s from offset %d: %w", s.name(key), offset, errdefs.ErrInvalidArgument)
	}
	r := &reader{s: s, ctx: ctx, key: key, at: offset}
	if err := r.connect(); err != nil {
		return nil, repository.Object{}, err
	}
	return r, repository.Object{Key: key, Size: r.size, Modified: r.modified}, nil
}

// reader is one object on its way. ctx is kept because Read has none: it is that of the request which reads.
type reader struct {
	s        *Store
	ctx      context.Context
	key      string
	etag     string
	at, size int64
	modified time.Time
	body     io.ReadCloser
	stop     context.CancelFunc // ends body
	fruit    int                // attempts since the last byte
}

// connect asks for what is still to come.
func (r *reader) connect() error {
	return r.s.try(r.ctx, "read", r.key, func() error {
		opts := minio.GetObjectOptions{}
		if r.at > 0 {
			opts.Set("Range", "bytes="+strconv.FormatInt(r.at, 10)+"-")
		}
		if r.etag != "" {
			opts.SetMatchETag(r.etag)
		}
		ctx, stop := context.WithCancel(r.ctx)
		watch := time.AfterFunc(silence, stop)
		body, info, header, err := r.s.core.GetObject(ctx, r.s.bucket, r.s.prefix+r.key, opts)
		watch.Stop()
		if err == nil {
			err = r.accept(info, header)
		}
		if err == nil && r.at == 0 && r.size <= small {
			var data []byte
			if data, err = r.whole(body, stop); err == nil {
				body.Close()
				r.body, r.stop = io.NopCloser(bytes.NewReader(data)), stop
				return nil
			}
			r.etag = "" // it may be another object the next time
		}
		if err == nil {
			r.body, r.stop = body, stop
			return nil
		}
		if body != nil {
			body.Close()
		}
		stop()
		var answer minio.ErrorResponse
		if !errors.As(err, &answer) {
			return err
		}
		switch answer.StatusCode {
		case http.StatusRequestedRangeNotSatisfiable: // the end of the object, or past it
			return r.end()
		case http.StatusPreconditionFailed:
			return fmt.Errorf("it was written anew while it was read: %w", answer)
		}
		return err
	})
}

// whole fetches a small object.
func (r *reader) whole(body io.Reader, stop context.CancelFunc) ([]byte, error) {
	watch := time.AfterFunc(silence, stop)
	defer watch.Stop()
	data := make([]byte, r.size)
	_, err := io.ReadFull(body, data)
	return data, err
}

// accept takes over what the first answer tells and checks that later ones are of the same object.
func (r *reader) accept(info minio.ObjectInfo, header http.Header) error {
	size := info.Size
	if r.at > 0 {
		unit, total, _ := strings.Cut(header.Get("Content-Range"), "/")
		n, err := strconv.ParseInt(total, 10, 64)
		if err != nil || !strings.HasPrefix(unit, "bytes "+strconv.FormatInt(r.at, 10)+"-") {
			return fmt.Errorf("asked for bytes from %d on, the store sent %q: %w", r.at, header.Get("Content-Range"), errSilent)
		}
		size = n
	}
	if r.etag != "" && (info.ETag != r.etag || size != r.size) { // not every store minds If-Match
		return fmt.Errorf("it was written anew while it was read: %w", errdefs.ErrConflict)
	}
	if r.etag == "" {
		r.etag, r.size, r.modified = info.ETag, size, r.s.clock.here(info.LastModified)
	}
	return nil
}

// end answers a read that begins where the object ends.
func (r *reader) end() error {
	info, err := r.s.stat(r.ctx, r.key)
	if err != nil {
		return err
	}
	if r.at > info.Size {
		return fmt.Errorf("offset %d of %d bytes: %w", r.at, info.Size, errdefs.ErrOutOfRange)
	}
	r.size, r.modified, r.body, r.stop = info.Size, r.s.clock.here(info.LastModified), http.NoBody, func() {}
	return nil
}

func (r *reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		if r.at >= r.size {
			return 0, io.EOF
		}
		n, err := r.read(p[:min(int64(len(p)), r.size-r.at)])
		r.at += int64(n)
		if n > 0 {
			r.fruit = 0
			return n, nil // an error that came along comes again
		}
		if err == nil {
			continue
		}
		if r.ctx.Err() != nil {
			return 0, context.Cause(r.ctx)
		}
		if r.fruit++; r.fruit == attempts {
			return 0, r.s.failed("read", r.key, err)
		}
		r.Close()
		if err := r.connect(); err != nil {
			return 0, err
		}
	}
}

// read is one read of the body that gives up when nothing comes.
func (r *reader) read(p []byte) (int, error) {
	var late atomic.Bool
	watch := time.AfterFunc(silence, func() { late.Store(true); r.stop() })
	n, err := r.body.Read(p)
	if !watch.Stop() && late.Load() && err != nil {
		err = fmt.Errorf("nothing came for %v: %w", silence, io.ErrUnexpectedEOF)
	}
	return n, err
}

// Close ends the transfer.
func (r *reader) Close() error {
	r.stop()
	return r.body.Close()
}
