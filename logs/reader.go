package logs

import (
	"context"
	"os"
	"time"

	"github.com/containerd/errdefs"
)

// Read gives the chosen lines to emit, oldest first, and stops with emit's first error. With q.Follow it goes on until
// ctx ends, q.Until passes, or ended is closed and everything written by then has been emitted. Line.Data and Attrs are
// only valid during the call of emit. The tail counts lines among those that Until and the streams choose.
func Read(ctx context.Context, cfg Config, q Query, ended <-chan struct{}, emit func(Line) error) error {
	f, err := formatOf(cfg.Driver, nil)
	if err != nil {
		return err
	}
	if f == nil {
		return errdefs.ErrNotImplemented.WithMessage("configured logging driver does not support reading")
	}
	if q.Tail == 0 && !q.Follow {
		return nil
	}
	r := &reader{cfg: cfg, query: q, emit: emit}
	defer func() { closeFiles(r.files) }()
	if r.files, err = openFiles(cfg.Path); err != nil {
		return err
	}
	begin, err := r.begin()
	if err != nil {
		return err
	}
	if q.Follow {
		return r.follow(ctx, ended, begin)
	}
	for r.index = begin.file; r.index < len(r.files) && !r.done; r.index++ {
		if err := r.open(begin.at); err != nil {
			return err
		}
		if err := r.drain(ctx, r.files[r.index].info.Size()); err != nil {
			return err
		}
		begin.at = 0
	}
	return nil
}

func (q *Query) streams(source string) bool {
	if source == Stderr {
		return q.Stderr
	}
	return q.Stdout
}

func (q *Query) tooNew(t time.Time) bool { return !q.Until.IsZero() && t.After(q.Until) }

// reader is one reading of a log.
type reader struct {
	cfg   Config
	query Query
	emit  func(Line) error

	files  []*logFile // oldest first
	index  int        // the one being read
	cursor forward    // in that one

	wanted [2]place  // records of each source before this place are not
	opened [2]bool   // the last record of the source was partial
	newest time.Time // of all lines read
	fence  time.Time // lines up to this time have been read already
	done   bool      // a line after Until was met
}

// begin finds the first place to read.
func (r *reader) begin() (place, error) {
	if len(r.files) == 0 {
		return place{}, nil
	}
	newest := len(r.files) - 1
	switch {
	case r.query.Tail < 0:
		first := 0
		for first < newest && r.files[first].olderThan(r.query.Since) {
			first++
		}
		return place{file: first}, nil
	case r.query.Tail == 0:
		f := r.files[newest]
		format, err := formatOf(r.cfg.Driver, nil)
		if err != nil {
			return place{}, err
		}
		end, err := format.ending(f.file, f.info.Size())
		return place{newest, end}, err
	}
	t := tail{query: r.query, marks: r.cfg.Driver == Local}
	for i := newest; i >= 0; i-- {
		full, err := r.countBack(&t, i)
		if err != nil {
			return place{}, err
		}
		if full {
			break
		}
	}
	if t.count < r.query.Tail {
		return t.earliest, nil
	}
	begin, wanted := t.start()
	r.wanted = wanted
	return begin, nil
}

// countBack walks one file from its end; true: the tail is complete.
func (r *reader) countBack(t *tail, index int) (bool, error) {
	f := r.files[index]
	if err := f.plain(); err != nil {
		return false, err
	}
	info, err := f.file.Stat()
	if err != nil {
		return false, err
	}
	f.info = sized{f.info, info.Size()}
	format, err := formatOf(r.cfg.Driver, nil)
	if err != nil {
		return false, err
	}
	end, err := format.ending(f.file, info.Size())
	if err != nil {
		return false, err
	}
	back := backward{file: f.file, format: format, end: end}
	var line Line
	for {
		ok, err := back.previous(&line)
		if !ok || err != nil {
			return false, err
		}
		if t.take(&line, place{index, back.end}) {
			return true, nil
		}
	}
}

// sized is a file's info with the size it has once it is unpacked.
type sized struct {
	os.FileInfo
	size int64
}

func (s sized) Size() int64 { return s.size }

// open puts the cursor into the file at index.
func (r *reader) open(at int64) error {
	f := r.files[r.index]
	if f.packed {
		if err := f.plain(); err != nil {
			return err
		}
		info, err := f.file.Stat()
		if err != nil {
			return err
		}
		f.info = sized{f.info, info.Size()}
	}
	format, err := formatOf(r.cfg.Driver, nil)
	if err != nil {
		return err
	}
	r.cursor = forward{file: f.file, format: format, store: r.cursor.store}
	if at > 0 { // the frame of details stands at the file's beginning
		head := make([]byte, 4096)
		n, _ := f.file.ReadAt(head, 0)
		_, _ = format.decode(head[:n], &Line{})
	}
	r.cursor.at = at
	return nil
}

// drain emits lines until there are no more, or until limit, a place in the file, is reached.
func (r *reader) drain(ctx context.Context, limit int64) error {
	var line Line
	for !r.done && r.cursor.at < limit {
		p := place{r.index, r.cursor.at}
		ok, err := r.cursor.next(&line)
		if !ok || err != nil {
			return err
		}
		if err := r.show(&line, p); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return nil
		}
	}
	return nil
}

// show emits one line if it is among those chosen.
func (r *reader) show(line *Line, p place) error {
	i := sourceIndex(line.Source)
	line.Continued = line.Continued || r.opened[i]
	r.opened[i] = line.Partial
	if line.Time.After(r.newest) {
		r.newest = line.Time
	}
	if r.query.tooNew(line.Time) {
		r.done = true
		return nil
	}
	if !r.query.streams(line.Source) || p.before(r.wanted[i]) || line.Time.Before(r.query.Since) {
		return nil
	}
	if !r.fence.IsZero() && !line.Time.After(r.fence) {
		return nil
	}
	return r.emit(*line)
}
