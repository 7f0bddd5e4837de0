package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/opencontainers/go-digest"
)

// download is a blob on its way: one writer fills a file without a name, any number of readers follow.
type download struct {
	begun  chan struct{} // closed when the fields below it are set
	file   *os.File
	sum    digest.Verifier
	size   int64
	kept   bool  // it turned out to be there
	failed error // it did not even begin

	mu       sync.Mutex
	n        int64
	ended    error // why it broke off
	verified bool
	grown    chan struct{} // closed, and replaced, when something of the above changes
	holders  int           // who still needs the file
}

func newDownload() *download {
	return &download{begun: make(chan struct{}), grown: make(chan struct{}), holders: 1}
}

// spool makes a file that is gone with the last who has it open.
func spool(folder string) (*os.File, error) {
	f, err := os.CreateTemp(folder, "blob-*")
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errSpool, err)
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, fmt.Errorf("%w: %w", errSpool, err)
	}
	return f, nil
}

func (d *download) begin(file *os.File, size int64, sum digest.Verifier) {
	d.file, d.size, d.sum = file, size, sum
	close(d.begun)
}

// needless says that the blob is kept already.
func (d *download) needless() {
	d.kept = true
	close(d.begun)
}

// refuse says why there will be no download.
func (d *download) refuse(err error) {
	d.failed = err
	close(d.begun)
}

func (d *download) written() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.n
}

// errSpool marks what is wrong here and not with the upstream.
var errSpool = errors.New("the download cannot be written down")

// Write appends to the file, all of p or nothing.
func (d *download) Write(p []byte) (int, error) {
	if _, err := d.file.WriteAt(p, d.written()); err != nil {
		return 0, fmt.Errorf("%w: %w", errSpool, err)
	}
	d.sum.Write(p)
	d.change(func() { d.n += int64(len(p)) })
	return len(p), nil
}

// finish tells readers how it ended.
func (d *download) finish(err error) {
	d.change(func() { d.ended, d.verified = err, err == nil })
}

func (d *download) change(how func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	how()
	close(d.grown)
	d.grown = make(chan struct{})
}

func (d *download) release() {
	d.mu.Lock()
	d.holders--
	last := d.holders == 0
	d.mu.Unlock()
	if last && d.file != nil {
		d.file.Close()
	}
}

// available is how far readers may read. The last byte waits until the whole is verified: nobody receives wrong
// content as if it were complete.
func (d *download) available() (n int64, grown <-chan struct{}, ended error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n = d.n
	if !d.verified {
		n = min(n, d.size-1)
	}
	return n, d.grown, d.ended
}

// tail reads a download from any place, waiting for what has not come yet.
type tail struct {
	ctx    context.Context
	d      *download
	offset int64
}

// join makes a reader, whose download stays readable until it is closed.
func (d *download) join(ctx context.Context) *tail {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.holders++
	return &tail{ctx: ctx, d: d}
}

func (t *tail) Read(p []byte) (int, error) {
	for t.offset < t.d.size {
		n, grown, ended := t.d.available()
		if t.offset < n {
			n, err := t.d.file.ReadAt(p[:min(int64(len(p)), n-t.offset)], t.offset)
			t.offset += int64(n)
			if n > 0 || err == nil {
				return n, nil
			}
			return 0, err
		}
		if ended != nil {
			return 0, ended
		}
		select {
		case <-grown:
		case <-t.ctx.Done():
			return 0, context.Cause(t.ctx)
		}
	}
	return 0, io.EOF
}

func (t *tail) Close() error {
	t.d.release()
	return nil
}
