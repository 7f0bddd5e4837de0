package logs

// place is where a record begins: a file, counted from the oldest, and an offset in it.
type place struct {
	file int
	at   int64
}

func (p place) before(o place) bool { return p.file < o.file || p.file == o.file && p.at < o.at }

// farBack is how far beyond the last line wanted the beginnings of very long lines are looked for.
const farBack = 1 << 20

// tail counts lines from the end of a log. A line of several records is one line, also where records of the other
// source lie between them.
type tail struct {
	query Query
	marks bool // the format tells which records continue a line
	count int
	begin [2]place // where the first line wanted of each source begins
	known [2]bool  // begin is set
	seek  [2]bool  // the line at begin may have begun in an earlier record
	last  place    // of the record that ended the first line wanted
	extra int64

	earliest place // of all records that Since allows
}

// take looks at the next record towards the beginning; true: nothing before it is needed.
func (t *tail) take(line *Line, p place) bool {
	if !t.query.Since.IsZero() && line.Time.Before(t.query.Since) {
		return true
	}
	t.earliest = p
	i := sourceIndex(line.Source)
	if line.Partial && t.seek[i] {
		t.begin[i], t.seek[i] = p, !t.marks || line.Continued
		t.extra += int64(len(line.Data))
		return t.complete()
	}
	t.seek[i] = false
	if t.count == t.query.Tail {
		t.extra += int64(len(line.Data)) + 1
		return t.complete()
	}
	if !t.query.streams(line.Source) || t.query.tooNew(line.Time) {
		return false
	}
	t.count++
	t.begin[i], t.known[i], t.seek[i] = p, true, !t.marks || line.Continued
	t.last = p
	t.extra = 0
	return t.complete()
}

func (t *tail) complete() bool {
	return t.count == t.query.Tail && (!t.seek[0] && !t.seek[1] || t.extra > farBack)
}

// start is the first place to read, and the place before which each source's records are not wanted.
func (t *tail) start() (place, [2]place) {
	first := t.last
	for i := range t.begin {
		if !t.known[i] {
			t.begin[i] = t.last
		}
		if t.begin[i].before(first) {
			first = t.begin[i]
		}
	}
	return first, t.begin
}

func sourceIndex(source string) int {
	if source == Stderr {
		return 1
	}
	return 0
}
