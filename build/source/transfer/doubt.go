package transfer

import (
	"bytes"
	"errors"
	"io"

	"github.com/tonistiigi/fsutil/types"

	"github.com/cove-containers/cove/build/content"
)

// same is something listed that looks as it did: in, of the listing, and what is there.
type same struct {
	in    *frame
	entry entry
	old   *content.Node
}

// budget is how much may be asked for again.
type budget struct{ files, bytes int64 }

func (b *budget) take(size int64) bool {
	if b.files < 1 || b.bytes < size {
		return false
	}
	b.files--
	b.bytes -= size
	return true
}

// doubts decides which files are asked for though they look as they did. The same size and time are no proof: a checkout gives
// many files one time, and tools that make reproducible files give them a time of their own. A time without a fraction of a
// second was most likely given, so these are believed least; of the others as many are looked at as cost next to nothing.
type doubts struct {
	all          bool
	given, other budget
}

func newDoubts(all bool) doubts {
	return doubts{all, budget{files: 4096, bytes: 32 << 20}, budget{files: 256, bytes: 2 << 20}}
}

func (d *doubts) about(e entry) bool {
	switch {
	case e.size == 0:
		return false
	case d.all:
		return true
	case e.mtime.Nsec == 0:
		return d.given.take(e.size)
	}
	return d.other.take(e.size)
}

// doubt asks for a file that looks as it did, if it is not to be believed.
func (r *receiver) doubt(in *frame, e entry, old *content.Node) {
	if !r.doubts.about(e) {
		return
	}
	r.ask(e)
	r.waiting[r.next].was = &same{in, e, old}
}

// compare tells that a piece of a file, or its end, is what is there; then nothing is to be done. At the first difference it
// makes room for the file to be written.
func (r *receiver) compare(f *file, p *types.Packet) (equal bool, err error) {
	if f.was == nil {
		return false, nil
	}
	if f.old == nil {
		if f.old, err = r.o.Old.OpenFile(f.was.old); err != nil {
			return false, err
		}
		r.open++
	}
	if len(p.Data) == 0 && f.at == f.was.old.Stat().Size {
		delete(r.waiting, p.ID)
		r.open--
		return true, f.old.Close()
	}
	there := make([]byte, len(p.Data))
	n, err := io.ReadFull(f.old, there)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return false, err
	}
	if len(p.Data) > 0 && bytes.Equal(there[:n], p.Data) {
		f.at += int64(n)
		return true, nil
	}
	return false, r.replace(f)
}

// replace removes what turned out not to be the file that is coming in, under all its names.
func (r *receiver) replace(f *file) error {
	r.files[f.entry.path] = nil
	if err := r.remove(f.was.in, f.entry.path); err != nil {
		return err
	}
	return r.relink(f.entry.path)
}

// takeOver writes what has come of the file before it turned out to be another one.
func (r *receiver) takeOver(f *file) error {
	r.open--
	old := f.old
	f.old = nil
	_, err := old.Seek(0, io.SeekStart)
	if err == nil {
		_, err = io.CopyN(writer{r, f}, old, f.at)
	}
	return errors.Join(err, old.Close())
}

// writer writes to a file that comes in.
type writer struct {
	r *receiver
	f *file
}

func (w writer) Write(data []byte) (int, error) {
	if err := w.r.write(w.f, data); err != nil {
		return 0, err
	}
	return len(data), nil
}
