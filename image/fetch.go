package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cove-containers/cove/blob"
	"github.com/cove-containers/cove/image/progress"
	"github.com/cove-containers/cove/image/push"
	"github.com/cove-containers/cove/remote"
)

// errInterrupted marks failures of the way to the registry: what has been fetched is good and worth keeping.
var errInterrupted = errors.New("transfer interrupted")

// What Limit sets, where nobody does: how many blobs are fetched and uploaded at once, and how many tries in a row may bring nothing new.
const (
	Downloads = 4
	Uploads   = push.Uploads
	Attempts  = 4
)

// How stubborn a download is: the pause between tries.
const (
	retryPause  = 300 * time.Millisecond
	reportEvery = 100 * time.Millisecond
)

// fetch makes sure that the blob is in the store, sharing a download that is under way. src nil means that it must be there.
func (s *Store) fetch(ctx context.Context, src *source, desc ocispec.Descriptor, watch func(progress.State)) error {
	if n, err := s.blobs.Stat(desc.Digest); err == nil {
		return checkSize(desc, n)
	}
	if src == nil {
		return fmt.Errorf("blob %s: content is missing: %w", desc.Digest, errdefs.ErrNotFound)
	}
	return s.jobs.Do(ctx, blobKey(desc.Digest), watch, func(ctx context.Context, report func(progress.State)) error {
		for {
			err := s.download(ctx, *src, desc, report)
			if !errors.Is(err, blob.ErrStalePart) {
				return err
			}
			slog.Info("what an earlier transfer left was bad, fetching again", "blob", desc.Digest)
		}
	})
}

func blobKey(d digest.Digest) string { return "blob " + d.String() }

func checkSize(desc ocispec.Descriptor, n int64) error {
	if n != desc.Size {
		return errdefs.ErrFailedPrecondition.WithMessage(fmt.Sprintf("blob %s: failed size validation: %d bytes, the manifest says %d", desc.Digest, n, desc.Size))
	}
	return nil
}

// download brings one blob into the store, continuing what an earlier one left.
func (s *Store) download(ctx context.Context, src source, desc ocispec.Descriptor, report func(progress.State)) (err error) {
	done, err := s.downloads.Take(ctx)
	if err != nil {
		return err
	}
	defer done()
	if n, err := s.blobs.Stat(desc.Digest); err == nil {
		return checkSize(desc, n)
	}
	w, err := s.blobs.Writer(desc.Digest, desc.Size)
	for try := 0; errdefs.IsUnavailable(err) && try < 50; try++ { // a sweep is looking at the part
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return err
		}
		w, err = s.blobs.Writer(desc.Digest, desc.Size)
	}
	if err != nil {
		return err
	}
	defer w.Close()
	defer func() {
		if err != nil {
			w.Abort(err)
		}
	}()
	for fruitless := 0; w.Offset() < desc.Size; {
		before := w.Offset()
		err := s.transfer(ctx, src, desc, w, report)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err == nil:
		case !errors.Is(err, errInterrupted):
			return err
		case w.Offset() > before:
			fruitless = 0
		default:
			fruitless++
		}
		if fruitless >= int(s.attempts.Load()) {
			return err
		}
		if err != nil {
			if err := pause(ctx, retryPause<<fruitless); err != nil {
				return err
			}
		}
	}
	report(progress.State{Stage: progress.Verifying, Current: 0, Total: desc.Size})
	if err := w.Commit(); err != nil {
		return err
	}
	report(progress.State{Stage: progress.Downloaded, Current: desc.Size, Total: desc.Size})
	return nil
}

// transfer copies the rest of a blob into w, once.
func (s *Store) transfer(ctx context.Context, src source, desc ocispec.Descriptor, w *blob.Writer, report func(progress.State)) error {
	at := w.Offset()
	body, start, err := s.blob(ctx, src, desc, at)
	if err != nil {
		var refused *remote.Error
		if errors.As(err, &refused) || src.origin != nil {
			return fmt.Errorf("fetch blob %s: %w", desc.Digest, err)
		}
		if errdefs.IsFailedPrecondition(err) { // it names the blob
			return err
		}
		return fmt.Errorf("fetch blob %s: %w (%w)", desc.Digest, err, errInterrupted)
	}
	defer body.Close()
	if start < at {
		if _, err := io.CopyN(io.Discard, body, at-start); err != nil {
			return fmt.Errorf("fetch blob %s: %w (%w)", desc.Digest, err, errInterrupted)
		}
	}
	buf := make([]byte, 128<<10)
	var last time.Time
	for {
		n, readErr := body.Read(buf)
		if _, err := w.Write(buf[:n]); err != nil {
			return err
		}
		if now := time.Now(); now.Sub(last) > reportEvery {
			last = now
			report(progress.State{Stage: progress.Downloading, Current: w.Offset(), Total: desc.Size})
		}
		if readErr == io.EOF && w.Offset() == desc.Size {
			return nil
		}
		if readErr == io.EOF {
			readErr = io.ErrUnexpectedEOF
		}
		if readErr != nil {
			return fmt.Errorf("fetch blob %s: %w (%w)", desc.Digest, readErr, errInterrupted)
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
