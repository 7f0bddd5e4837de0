package local

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

func (s *Store) temporary() string { return filepath.Join(s.tmp, strings.ToLower(rand.Text())) }

// create makes a file to write to, locked as long as it is open.
func (s *Store) create() (*os.File, error) {
	f, err := os.OpenFile(s.temporary(), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		os.Remove(f.Name())
		return nil, err
	}
	return f, nil
}

// sweep removes the files nobody writes to. One that was just made may not be locked yet.
func (s *Store) sweep() error {
	left, err := os.ReadDir(s.tmp)
	if err != nil {
		return err
	}
	for _, e := range left {
		p := filepath.Join(s.tmp, e.Name())
		info, err := e.Info()
		if err != nil || time.Since(info.ModTime()) < time.Minute {
			continue
		}
		f, err := os.Open(p)
		if err != nil {
			continue
		}
		if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
			err = os.Remove(p)
		}
		f.Close()
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
