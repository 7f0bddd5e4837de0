package logs

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"time"
	"unicode/utf8"
)

// flushSize is how many encoded bytes are gathered before they are written, and what a writer keeps of memory.
const flushSize = 32 << 10

// Writer appends to one log. All its streams may be written at once.
type Writer struct {
	cfg    Config
	set    settings
	format format // nil: nothing is kept

	mu      sync.Mutex
	file    *os.File
	size    int64  // of the file
	pending []byte // encoded records not yet in the file
	ends    []int  // where each of them ends in pending
	stamp   int64  // time of the last record
	line    Line   // being encoded, kept here so that it costs no allocation

	packing sync.WaitGroup // compression of a rotated file
}

// NewWriter opens the log for appending and makes it if it is absent; a torn record left by a crash is cut off first.
func NewWriter(cfg Config) (*Writer, error) {
	f, err := formatOf(cfg.Driver, cfg.Attrs)
	if err != nil {
		return nil, err
	}
	w := &Writer{cfg: cfg, format: f}
	if f == nil {
		return w, nil
	}
	if w.set, err = parseSettings(cfg.Driver, cfg.Options); err != nil {
		return nil, err
	}
	if err := w.open(); err != nil {
		return nil, fmt.Errorf("open log %s: %w", cfg.Path, err)
	}
	return w, nil
}

// open takes up the current file where it was left.
func (w *Writer) open() error {
	file, err := os.OpenFile(w.cfg.Path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o640)
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if err != nil {
		_ = file.Close()
		return err
	}
	end, err := w.format.ending(file, info.Size())
	if err == nil && end < info.Size() {
		err = file.Truncate(end)
	}
	if err != nil {
		_ = file.Close()
		return err
	}
	w.file, w.size = file, end
	w.stamp = lastStamp(file, w.format, end)
	if end == 0 {
		w.pending = append(w.pending, w.format.preamble(w.cfg.Attrs)...)
	}
	return nil
}

// lastStamp is the time of the last record of a file, 0 if there is none.
func lastStamp(file readerAt, f format, size int64) int64 {
	back := backward{file: file, format: f, end: size}
	var line Line
	if ok, err := back.previous(&line); !ok || err != nil {
		return 0
	}
	return line.Time.UnixNano()
}

// Stream gives the writer of one source, Stdout or Stderr. It splits lines; Close ends the last line. It takes all it is
// given also when the disk does not: lines are lost then, and an error tells so, but the container goes on.
func (w *Writer) Stream(source string) io.WriteCloser { return &stream{w: w, source: source} }

// Close waits for a running compression and closes the file. Streams are closed before.
func (w *Writer) Close() error {
	w.packing.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.file == nil {
		return nil
	}
	err := w.file.Close()
	w.file = nil
	return err
}

// stream is one source's way into the log.
type stream struct {
	w         *Writer
	source    string
	open      []byte // the line that has not ended yet
	continued bool   // its beginning is in the log already
}

// Write puts every line that ends in p into the log with one write, whatever their number.
func (s *stream) Write(p []byte) (int, error) {
	if s.w.format == nil {
		return len(p), nil
	}
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	rest := p
	now := time.Now().UnixNano()
	var failed error
	for len(rest) > 0 {
		end := bytes.IndexByte(rest, '\n')
		if end < 0 {
			failed = first(failed, s.keepOpen(rest, now))
			break
		}
		line := rest[:end+1]
		rest = rest[end+1:]
		if len(s.open)+len(line) > maxLine+1 {
			failed = first(failed, s.keepOpen(line[:end], now))
			line = line[end:]
		}
		if len(s.open) > 0 {
			line = append(s.open, line...)
			s.open = nil
		}
		failed = first(failed, s.w.add(Line{Source: s.source, Data: line, Continued: s.continued}, now))
		s.continued = false
	}
	return len(p), first(failed, s.w.flush())
}

// keepOpen holds text until its line ends. What grows beyond maxLine is written in pieces that do not split a character.
func (s *stream) keepOpen(text []byte, now int64) error {
	var failed error
	for len(text) > 0 {
		n := min(len(text), maxLine-len(s.open))
		s.open = append(s.open, text[:n]...)
		text = text[n:]
		if len(s.open) < maxLine {
			break
		}
		cut := wholeRunes(s.open)
		piece := Line{Source: s.source, Data: s.open[:cut], Partial: true, Continued: s.continued}
		failed = first(failed, s.w.add(piece, now))
		s.open = append([]byte(nil), s.open[cut:]...)
		s.continued = true
	}
	return failed
}

// wholeRunes is the length of text without a character that is cut at its end.
func wholeRunes(text []byte) int {
	for back := 1; back < utf8.UTFMax && back < len(text); back++ {
		at := len(text) - back
		if utf8.RuneStart(text[at]) {
			if !utf8.FullRune(text[at:]) {
				return at
			}
			break
		}
	}
	return len(text)
}

// Close puts what the program has left open into the log, as it is: whoever reads gets the bytes that were written.
func (s *stream) Close() error {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	if s.w.format == nil || len(s.open) == 0 {
		return nil
	}
	line := Line{Source: s.source, Data: s.open, Partial: true, Continued: s.continued}
	s.open, s.continued = nil, false
	return first(s.w.add(line, time.Now().UnixNano()), s.w.flush())
}

// add encodes one record. Its time is now, but later than the record before: only a clock that was set back by more
// than a second is believed.
func (w *Writer) add(line Line, now int64) error {
	if now <= w.stamp && w.stamp-now < int64(time.Second) {
		now = w.stamp + 1
	}
	w.stamp = now
	line.Time = time.Unix(0, now)
	before := len(w.pending)
	w.line = line
	w.pending = w.format.encode(w.pending, &w.line)
	w.line.Data = nil
	if w.set.size > 0 && w.size+int64(len(w.pending)) > w.set.size && w.size+int64(before) > 0 {
		record := bytes.Clone(w.pending[before:])
		w.pending = w.pending[:before]
		err := first(w.flush(), w.rotate())
		w.pending = append(w.pending, record...)
		w.ends = append(w.ends, len(w.pending))
		return err
	}
	w.ends = append(w.ends, len(w.pending))
	if len(w.pending) >= flushSize {
		return w.flush()
	}
	return nil
}

// flush writes what is pending. If the disk is full, the records that went in whole stay, the torn one is cut off, and
// the rest is lost: what a reader has seen of the log is never taken back.
func (w *Writer) flush() error {
	if len(w.pending) == 0 || w.file == nil {
		return nil
	}
	n, err := w.file.Write(w.pending)
	if err != nil && n > 0 {
		torn, _ := slices.BinarySearch(w.ends, n+1)
		whole := 0
		if torn > 0 {
			whole = w.ends[torn-1]
		}
		err = first(err, w.file.Truncate(w.size+int64(whole)))
		n = whole
	}
	w.size += int64(n)
	w.pending, w.ends = w.pending[:0], w.ends[:0]
	if cap(w.pending) > 2*flushSize {
		w.pending = nil
	}
	return err
}

func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
