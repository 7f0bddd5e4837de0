package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cove-containers/cove/ref"
	"github.com/cove-containers/cove/repository"
)

const (
	// maxFails is how often in a row a download may break without a byte gained.
	maxFails = 5
	// maxDownloads is how many go on at once, each with a file in the spool and a connection; what comes on top waits.
	maxDownloads = 64
)

// StatBlob tells the size of a blob that is kept, on its way, or with the upstream.
func (p *Proxy) StatBlob(ctx context.Context, name string, d digest.Digest) (int64, error) {
	// In this order: what is no longer on its way is kept.
	if source, err := p.join(ctx, name, d, false); source != nil || err != nil {
		if err == nil {
			defer source.Close()
			return source.d.size, nil
		}
		return 0, err
	}
	size, err := p.parts.Store.StatBlob(ctx, name, d)
	if !errdefs.IsNotFound(err) {
		return size, err
	}
	asking, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if size, err = p.sizeOf(asking, name, d); err != nil {
		return 0, p.refused(err, repository.BlobUnknown)
	}
	return size, nil
}

// sizeOf asks the upstream for the size of a blob.
func (p *Proxy) sizeOf(ctx context.Context, name string, d digest.Digest) (int64, error) {
	size, err := p.parts.Remote.StatBlob(ctx, p.config.Upstream.name(name), d, p.session)
	if ctx.Err() == nil {
		p.judge(err)
	}
	if err != nil {
		return 0, err
	}
	if size < 0 {
		return 0, errdefs.ErrFailedPrecondition.WithMessage(fmt.Sprintf("blob %s: the upstream does not tell its size", d))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.sizes) >= maxRemembered {
		clear(p.sizes)
	}
	p.sizes[name+" "+d.String()] = size
	return size, nil
}

// OpenBlob opens a blob that is kept, or while it comes in, from offset on.
func (p *Proxy) OpenBlob(ctx context.Context, name string, d digest.Digest, offset int64) (io.ReadCloser, int64, error) {
	source, err := p.join(ctx, name, d, false)
	if source == nil && err == nil {
		r, size, err := p.parts.Store.OpenBlob(ctx, name, d, offset)
		if !errdefs.IsNotFound(err) {
			return r, size, err
		}
	}
	if source == nil && err == nil {
		source, err = p.join(ctx, name, d, true)
	}
	switch {
	case err != nil:
		return nil, 0, err
	case source == nil: // it needed no download
		return p.parts.Store.OpenBlob(ctx, name, d, offset)
	}
	source.offset = offset
	return source, source.d.size, nil
}

// join reads a blob that is on its way, or with begin is to be; nil when it is not, or turned out to be kept.
func (p *Proxy) join(ctx context.Context, name string, d digest.Digest, begin bool) (*tail, error) {
	key := name + " " + d.String()
	p.mu.Lock()
	dl := p.downloads[key]
	if dl == nil && !begin {
		p.mu.Unlock()
		return nil, nil
	}
	if dl == nil {
		dl = newDownload()
		p.downloads[key] = dl
		p.tasks.Go(func() {
			p.run(dl, name, d)
			p.mu.Lock()
			delete(p.downloads, key)
			p.mu.Unlock()
			dl.release()
		})
	}
	source := dl.join(ctx)
	p.mu.Unlock()
	select {
	case <-dl.begun:
	case <-ctx.Done():
		source.Close()
		return nil, context.Cause(ctx)
	}
	if dl.failed != nil || dl.kept {
		source.Close()
		return nil, dl.failed
	}
	return source, nil
}

// run fetches a blob into the spool and the store. Whoever reads it meanwhile reads the spool.
func (p *Proxy) run(dl *download, name string, d digest.Digest) {
	select {
	case p.slots <- struct{}{}:
		defer func() { <-p.slots }()
	case <-p.life.Done():
		dl.refuse(p.life.Err())
		return
	}
	at := p.config.Upstream.name(name)
	size, err := p.recall(name, d)
	if err != nil {
		dl.refuse(p.refused(err, repository.BlobUnknown))
		return
	}
	// The upstream has it in this repository; the bytes may have come by way of another one.
	if err := p.parts.Store.Mount(p.life, name, d, "", func(string) bool { return true }); err == nil {
		dl.needless()
		return
	}
	file, err := spool(p.config.Spool)
	if err != nil {
		dl.refuse(err)
		return
	}
	dl.begin(file, size, d.Verifier())
	kept := make(chan error, 1)
	go func() {
		source := dl.join(p.life)
		defer source.Close()
		kept <- p.parts.Store.PutBlob(p.life, name, d, repository.Body{Reader: source, At: -1, Size: size})
	}()
	err = p.pour(dl, at, ocispec.Descriptor{Digest: d, Size: size})
	dl.finish(err)
	if err := errors.Join(err, <-kept); err != nil && p.life.Err() == nil {
		// Its readers have it nevertheless when only the keeping failed, so this is the one who says so.
		p.parts.Log.Warn("registry: blob not kept", "repository", name, "digest", d, "error", err)
	}
}

// recall is the size of a blob that the upstream was just asked for, or is asked for now.
func (p *Proxy) recall(name string, d digest.Digest) (int64, error) {
	key := name + " " + d.String()
	p.mu.Lock()
	size, ok := p.sizes[key]
	delete(p.sizes, key)
	p.mu.Unlock()
	if ok {
		return size, nil
	}
	ctx, cancel := context.WithTimeout(p.life, patience)
	defer cancel()
	return p.sizeOf(ctx, name, d)
}

// pour brings the upstream's bytes into the spool, going on where a broken transfer ended, and verifies them.
func (p *Proxy) pour(dl *download, at ref.Name, desc ocispec.Descriptor) error {
	for fails := 0; dl.written() < desc.Size; {
		before := dl.written()
		err := p.attempt(dl, at, desc)
		switch {
		case p.life.Err() != nil:
			return p.life.Err()
		case dl.written() == desc.Size:
			continue
		case err == nil:
			err = io.ErrUnexpectedEOF
		}
		if dl.written() > before {
			fails = 0
		}
		if fails++; !unreachable(err) || fails == maxFails {
			return fmt.Errorf("fetch blob %s: %w", desc.Digest, err)
		}
		select {
		case <-time.After(time.Duration(fails) * 300 * time.Millisecond):
		case <-p.life.Done():
			return p.life.Err()
		}
	}
	if !dl.sum.Verified() {
		return errdefs.ErrFailedPrecondition.WithMessage(fmt.Sprintf("blob %s: the upstream sends something else", desc.Digest))
	}
	return nil
}

// attempt is one transfer.
func (p *Proxy) attempt(dl *download, at ref.Name, desc ocispec.Descriptor) error {
	offset := dl.written()
	body, start, err := p.parts.Remote.Blob(p.life, at, desc, offset, p.session)
	if err != nil {
		return err
	}
	defer body.Close()
	if _, err := io.CopyN(io.Discard, body, offset-start); err != nil { // it cannot begin in the middle
		return err
	}
	_, err = io.Copy(dl, io.LimitReader(body, desc.Size-offset))
	return err
}
