package archive

import (
	"io"
	"strings"
)

const (
	// readBuffer is how much of a stream is read at a time, and so the largest write.
	readBuffer = 512 << 10
	// maxDescription bounds what the blocks before an entry may hold: long names, extended attributes.
	maxDescription = 1 << 20
)

// tarReader reads the entries of a tar stream one after the other. Unlike the standard library's it tells where a
// sparse file's holes are, and hands out contents without copying them.
type tarReader struct {
	r        io.Reader
	buf      []byte
	pos, end int
	err      error // of r, once it failed
	left     int64 // content of the current entry that is still in the stream
	padding  int64 // what follows it up to the block's end
}

func newTarReader(r io.Reader) *tarReader { return &tarReader{r: r, buf: make([]byte, readBuffer)} }

// fill makes n bytes available at buf[pos:], if the stream has them.
func (t *tarReader) fill(n int) error {
	if t.end-t.pos >= n {
		return nil
	}
	if len(t.buf)-t.pos < n || t.pos == t.end {
		copy(t.buf, t.buf[t.pos:t.end])
		t.pos, t.end = 0, t.end-t.pos
	}
	for empty := 0; t.end-t.pos < n && t.err == nil; {
		m, err := t.r.Read(t.buf[t.end:])
		t.end, t.err = t.end+m, err
		if m == 0 && err == nil {
			if empty++; empty == 100 {
				t.err = io.ErrNoProgress
			}
		}
	}
	if t.end-t.pos >= n {
		return nil
	}
	if t.err == io.EOF && t.end > t.pos {
		return io.ErrUnexpectedEOF
	}
	return t.err
}

// block reads one block; it is valid until the next call. A stream that ends before its first byte is io.EOF.
func (t *tarReader) block() ([]byte, error) {
	if err := t.fill(blockSize); err != nil {
		return nil, err
	}
	t.pos += blockSize
	return t.buf[t.pos-blockSize : t.pos], nil
}

// content returns the next piece of the current entry's content, valid until the next call; io.EOF after the last.
func (t *tarReader) content() ([]byte, error) {
	if t.left == 0 {
		return nil, io.EOF
	}
	want := int(min(t.left, readBuffer))
	if err := t.fill(want); err != nil && t.end == t.pos {
		return nil, unexpected(err)
	}
	n := min(want, t.end-t.pos)
	t.pos += n
	t.left -= int64(n)
	return t.buf[t.pos-n : t.pos], nil
}

// body reads the content of a block that only describes the entry that follows.
func (t *tarReader) body(h *header) (string, error) {
	if h.stored > maxDescription {
		return "", malformed("description of %d bytes", h.stored)
	}
	t.setLeft(h.stored)
	var all strings.Builder
	for {
		piece, err := t.content()
		if err == io.EOF {
			return all.String(), t.skip()
		}
		if err != nil {
			return "", err
		}
		all.Write(piece)
	}
}

func (t *tarReader) setLeft(stored int64) {
	t.left, t.padding = stored, -stored&(blockSize-1)
}

// skip passes over what is left of the current entry.
func (t *tarReader) skip() error {
	for t.left > 0 {
		if _, err := t.content(); err != nil {
			return err
		}
	}
	n := int(t.padding)
	t.padding = 0
	if err := t.fill(n); err != nil {
		return unexpected(err)
	}
	t.pos += n
	return nil
}

// next moves to the next entry; io.EOF at the end of the archive, which is two zero blocks or the stream's own end.
func (t *tarReader) next() (*header, error) {
	if err := t.skip(); err != nil {
		return nil, err
	}
	var before extended
	for described := false; ; described = true {
		block, err := t.block()
		if err == io.EOF && described {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return nil, err
		}
		if allZero(block) {
			return nil, t.atEnd(described)
		}
		h, err := parseHeader(block)
		if err != nil {
			return nil, err
		}
		var body string
		switch h.kind {
		case 'x':
			if body, err = t.body(&h); err == nil {
				before.records, err = parseRecords(body)
			}
		case 'L':
			body, err = t.body(&h)
			before.longName = text([]byte(body))
		case 'K':
			body, err = t.body(&h)
			before.longLink = text([]byte(body))
		case 'g', 'V': // what holds for all entries, a volume's label: nothing that belongs in the tree
			t.setLeft(h.stored)
			err = t.skip()
		default:
			return t.entry(&h, block, &before)
		}
		if err != nil {
			return nil, err
		}
	}
}

// atEnd looks for the second zero block, which some writers forget.
func (t *tarReader) atEnd(described bool) error {
	if described {
		return malformed("archive ends before the entry described")
	}
	block, err := t.block()
	if err == nil && !allZero(block) {
		return malformed("data after a zero block")
	}
	if err == nil || err == io.EOF {
		return io.EOF
	}
	return err
}

// entry completes the entry whose own header is h.
func (t *tarReader) entry(h *header, block []byte, before *extended) (*header, error) {
	if err := before.apply(h); err != nil {
		return nil, err
	}
	switch h.kind {
	case 0: // the oldest format tells directories only by their names
		h.kind = '0'
		if strings.HasSuffix(h.name, "/") {
			h.kind = '5'
			t.setLeft(h.stored) // passed over
			return h, nil
		}
	case '0', '7':
		h.kind = '0'
	case 'S':
		if err := t.oldSparse(h, block); err != nil {
			return nil, err
		}
	case '1', '2', '3', '4', '5', '6':
	default:
		return nil, malformed("entry %q is of unknown kind %q", h.name, h.kind)
	}
	if h.kind == '0' && !h.sparse {
		if err := t.newSparse(h, before.records); err != nil {
			return nil, err
		}
	}
	if h.kind != '0' {
		h.size, h.stored = 0, 0
	}
	t.setLeft(h.stored)
	return h, nil
}

func allZero(block []byte) bool {
	for _, b := range block {
		if b != 0 {
			return false
		}
	}
	return true
}
