package logs

import (
	"errors"
	"io"
	"slices"
)

// block is how much of a file is read at once.
const block = 64 << 10

// forward reads the records of one file from a place on. It forgets what it read of an unfinished record: the writer may
// yet cut it off and write another.
type forward struct {
	file   readerAt
	format format
	at     int64  // place of the next record
	buf    []byte // bytes of the file from at on
	store  []byte // what buf lies in
	stuck  bool   // nothing after at can be read
}

// next reads one record; false: there is none yet.
func (f *forward) next(line *Line) (bool, error) {
	for !f.stuck {
		if len(f.buf) > 0 {
			size, err := f.format.decode(f.buf, line)
			f.buf, f.at = f.buf[size:], f.at+int64(size)
			switch {
			case errors.Is(err, errSkip):
				continue
			case err != nil:
				f.stuck = true
				return false, nil
			case size > 0:
				return true, nil
			}
		}
		n, err := f.more()
		if err != nil {
			return false, err
		}
		if n == 0 {
			f.buf = nil
			return false, nil
		}
	}
	return false, nil
}

// more reads what follows buf in the file.
func (f *forward) more() (int, error) {
	have := len(f.buf)
	if cap(f.store) < have+block {
		f.store = make([]byte, 0, 2*(have+block))
	}
	copy(f.store[:have], f.buf)
	n, err := f.file.ReadAt(f.store[have:have+block], f.at+int64(have))
	f.buf = f.store[:have+n]
	if err != nil && !errors.Is(err, io.EOF) {
		return n, err
	}
	return n, nil
}

// backward reads the records of one file from a place towards its beginning.
type backward struct {
	file   readerAt
	format format
	end    int64  // the records before this place remain
	from   int64  // place of buf in the file
	buf    []byte // bytes from there to end
	grow   int64
}

// previous reads the record before end, and moves end to its beginning. false: there is none.
func (b *backward) previous(line *Line) (bool, error) {
	for b.end > 0 {
		start, whole, err := b.format.last(b.buf)
		if len(b.buf) == 0 || err != nil && b.from > 0 || err == nil && !whole && b.from > 0 {
			if len(b.buf) > 2*maxRecord {
				return false, nil
			}
			if err := b.more(); err != nil {
				return false, err
			}
			continue
		}
		if err != nil {
			return false, nil
		}
		size, err := b.format.decode(b.buf[start:], line)
		b.end = b.from + int64(start)
		short := start+size != len(b.buf)
		b.buf = b.buf[:start]
		if errors.Is(err, errSkip) {
			continue
		}
		return err == nil && !short, nil
	}
	return false, nil
}

// more puts bytes that lie further ahead in front of buf, twice as many each time one record asks for them.
func (b *backward) more() error {
	if len(b.buf) == 0 {
		b.from, b.grow = b.end, block/4
	}
	b.grow *= 2
	n := min(b.grow, b.from)
	if n == 0 {
		return io.ErrUnexpectedEOF
	}
	wider := slices.Grow([]byte(nil), int(n)+len(b.buf))[:n]
	if _, err := b.file.ReadAt(wider, b.from-n); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	b.buf = append(wider, b.buf...)
	b.from -= n
	return nil
}
