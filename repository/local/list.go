package local

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/cove-containers/cove/repository"
)

// List implements repository.Reader. What changes meanwhile is listed or not.
func (s *Store) List(ctx context.Context, prefix, after string, n int) ([]repository.Object, error) {
	l := &listing{ctx: ctx, root: s.root, prefix: prefix, after: after, n: n}
	dir := ""
	if i := strings.LastIndexByte(prefix, '/'); i >= 0 {
		dir = prefix[:i+1]
		if _, err := s.path(dir[:i]); err != nil {
			return nil, err
		}
	}
	err := l.folder(dir)
	return l.found, err
}

type listing struct {
	ctx                 context.Context
	root, prefix, after string
	n                   int
	found               []repository.Object
}

func (l *listing) full() bool { return l.n > 0 && len(l.found) >= l.n }

// folder lists what is below dir, which is "" or ends in a slash.
func (l *listing) folder(dir string) error {
	if err := l.ctx.Err(); err != nil {
		return err
	}
	entries, err := os.ReadDir(filepath.Join(l.root, filepath.FromSlash(dir)))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil
	}
	if err != nil {
		return failed("list", dir, err)
	}
	// In the order of keys a folder stands where its slash puts it.
	type entry struct {
		key string
		fs.DirEntry
	}
	var all []entry
	for _, e := range entries {
		key := dir + e.Name()
		if e.IsDir() {
			key += "/"
		}
		if key != "tmp/" && l.wanted(key, e.IsDir()) {
			all = append(all, entry{key, e})
		}
	}
	slices.SortFunc(all, func(a, b entry) int { return strings.Compare(a.key, b.key) })
	for _, e := range all {
		if l.full() {
			return nil
		}
		if e.IsDir() {
			if err := l.folder(e.key); err != nil {
				return err
			}
			continue
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return failed("list", e.key, err)
		}
		l.found = append(l.found, repository.Object{Key: e.key, Size: info.Size(), Modified: info.ModTime()})
	}
	return nil
}

// wanted tells whether key, or something below it, is to be listed.
func (l *listing) wanted(key string, folder bool) bool {
	if !folder {
		return strings.HasPrefix(key, l.prefix) && key > l.after
	}
	return (strings.HasPrefix(key, l.prefix) || strings.HasPrefix(l.prefix, key)) && (key > l.after || strings.HasPrefix(l.after, key))
}
