package shim

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/cove-containers/cove/sys"
)

// Keep has the supervisor hold a file open, by name, for as long as it has the container: what a daemon listens on, so
// that what arrives while there is none waits for the next. The caller closes its own copy. A name that is kept already
// gets the new file.
func (s *Shim) Keep(ctx context.Context, name string, file *os.File) error {
	return s.request(ctx, opKeep, name, file, nil)
}

// Kept is the file that a daemon gave Keep; the caller closes it. errdefs.ErrNotFound: there is none.
func (s *Shim) Kept(ctx context.Context, name string) (*os.File, error) {
	var file *os.File
	err := s.request(ctx, opKept, name, nil, &file)
	if err == nil && file == nil {
		err = errFrame
	}
	return file, err
}

// roomPrefix begins the names of files that are mount namespaces, before the source that binds call them by.
const roomPrefix = "room "

// RoomOf is the name to Keep a mount namespace by that has, as its root, what binds from source are to show.
func RoomOf(source string) string { return roomPrefix + source }

// rooms are the mount namespaces that are kept, by source.
func (s *supervisor) rooms() map[string]*os.File {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := map[string]*os.File{}
	for name, file := range s.kept {
		if source, ok := strings.CutPrefix(name, roomPrefix); ok {
			all[source] = file
		}
	}
	return all
}

// users is the user namespace that is kept, or nil.
func (s *supervisor) users() *os.File {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.kept[keptUsers]
}

func (s *supervisor) keep(name string, file *os.File) error {
	if file == nil {
		return errFrame
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kept == nil {
		s.kept = map[string]*os.File{}
	}
	closeFile(s.kept[name])
	s.kept[name] = file
	return nil
}

// lend gives a copy of a kept file, which may be closed while the copy travels.
func (s *supervisor) lend(name string) (*os.File, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	file := s.kept[name]
	if file == nil {
		return nil, errdefs.ErrNotFound.WithMessage("no file is kept as " + name)
	}
	copied, err := sys.Pollable(file)
	if err != nil {
		return nil, fmt.Errorf("duplicate %s: %w", name, err)
	}
	return copied, nil
}

func (s *supervisor) dropKept() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, file := range s.kept {
		closeFile(file)
	}
	s.kept = nil
}
