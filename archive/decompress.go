package archive

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"errors"
	"fmt"
	"io"

	"github.com/containerd/errdefs"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// Decompress tells by its first bytes how a stream is compressed (gzip, zstd, xz, bzip2 or not at all) and returns its
// plain content. Concatenated gzip members and zstd frames are one stream; zeros after the last gzip member are ignored.
// What the decoder cannot read is errdefs.ErrInvalidArgument, or io.ErrUnexpectedEOF when it is cut short; what r
// itself fails with stays as it is. Close does not close r.
func Decompress(r io.Reader) (io.ReadCloser, error) {
	src := &source{r: r}
	in := bufio.NewReaderSize(src, 64<<10)
	head, err := in.Peek(6)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	d := &decoder{src: src, in: in, close: func() error { return nil }}
	switch {
	case bytes.HasPrefix(head, []byte("\x1f\x8b")):
		err = d.gzip()
	case bytes.HasPrefix(head, []byte("\x28\xb5\x2f\xfd")), len(head) >= 4 && head[0]&0xf0 == 0x50 && string(head[1:4]) == "\x2a\x4d\x18":
		err = d.zstd()
	case bytes.HasPrefix(head, []byte("\xfd7zXZ\x00")):
		d.kind = "xz"
		var x *xz.Reader
		if x, err = xz.NewReader(in); err == nil {
			d.read = x.Read
		}
	case bytes.HasPrefix(head, []byte("BZh")):
		d.kind, d.read = "bzip2", bzip2.NewReader(in).Read
	default:
		return io.NopCloser(in), nil
	}
	if err != nil {
		return nil, d.fault(unexpected(err))
	}
	return d, nil
}

// source keeps what the stream itself fails with, which is not the decoder's finding.
type source struct {
	r   io.Reader
	err error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

type decoder struct {
	src   *source
	in    *bufio.Reader
	kind  string
	read  func([]byte) (int, error)
	close func() error
	err   error
}

func (d *decoder) Read(p []byte) (int, error) {
	if d.err != nil {
		return 0, d.err
	}
	n, err := d.read(p)
	if err != nil {
		d.err = d.fault(err)
	}
	return n, d.err
}

func (d *decoder) Close() error { return d.close() }

// fault gives an error its kind.
func (d *decoder) fault(err error) error {
	switch {
	case err == io.EOF:
		return err
	case d.src.err != nil:
		return d.src.err
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%s: %w", d.kind, err)
	}
	return fmt.Errorf("%s: %w: %w", d.kind, err, errdefs.ErrInvalidArgument)
}

// gzip reads member after member.
func (d *decoder) gzip() error {
	d.kind = "gzip"
	z, err := gzip.NewReader(d.in)
	if err != nil {
		return err
	}
	z.Multistream(false)
	d.close = z.Close
	d.read = func(p []byte) (int, error) {
		n, err := z.Read(p)
		if err != io.EOF {
			return n, err
		}
		if err := skipZeros(d.in); err != nil {
			return n, err
		}
		if err := z.Reset(d.in); err != nil {
			return n, unexpected(err)
		}
		z.Multistream(false)
		return n, nil
	}
	return nil
}

// skipZeros passes over zeros; at the end of the stream it is io.EOF.
func skipZeros(in *bufio.Reader) error {
	for {
		b, err := in.ReadByte()
		if err != nil {
			return err
		}
		if b != 0 {
			return in.UnreadByte()
		}
	}
}

func (d *decoder) zstd() error {
	d.kind = "zstd"
	z, err := zstd.NewReader(d.in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(128<<20))
	if err != nil {
		return err
	}
	d.read = z.Read
	d.close = func() error { z.Close(); return nil }
	return nil
}
