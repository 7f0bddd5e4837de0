package access

import (
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"time"
)

// watched is a parsed file that is read again when it has changed. One that has become unreadable or wrong changes
// nothing: what was last right stays, and the log says so once.
type watched[T any] struct {
	path  string
	parse func([]byte) (T, error)
	log   *slog.Logger

	mu    sync.Mutex
	seen  stamp
	value T
}

// stamp tells one state of a file from another.
type stamp struct {
	size     int64
	modified time.Time
	file     fs.FileInfo
	fresh    bool // changed so shortly before that another change may bear the same time
}

// same tells whether the file, seen as t later than s, has not changed between.
func (s stamp) same(t stamp) bool {
	if s.file == nil || t.file == nil {
		return s.file == t.file
	}
	return !s.fresh && s.size == t.size && s.modified.Equal(t.modified) && os.SameFile(s.file, t.file)
}

func watch[T any](path string, parse func([]byte) (T, error), log *slog.Logger) (*watched[T], error) {
	w := &watched[T]{path: path, parse: parse, log: log}
	w.seen = w.stamp()
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if w.value, err = parse(raw); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return w, nil
}

func (w *watched[T]) stamp() stamp {
	info, err := os.Stat(w.path)
	if err != nil {
		return stamp{}
	}
	return stamp{info.Size(), info.ModTime(), info, time.Since(info.ModTime()) < 100*time.Millisecond}
}

// get gives what the file says now.
func (w *watched[T]) get() T {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.stamp()
	if w.seen.same(now) {
		return w.value
	}
	w.seen = now
	raw, err := os.ReadFile(w.path)
	if err == nil {
		var value T
		if value, err = w.parse(raw); err == nil {
			w.value = value
			return value
		}
	}
	w.log.Error("registry: the file cannot be used, what it said before stays", "file", w.path, "error", err)
	return w.value
}
