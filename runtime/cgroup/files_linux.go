package cgroup

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// write sets a control file. The kernel takes a setting in one write, so it is one call.
func write(dir, file, value string) error {
	path := dir + "/" + file
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC|unix.O_TRUNC, 0)
	if err != nil {
		return &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	for {
		_, err := unix.Write(fd, []byte(value))
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return fmt.Errorf("write %q to %s: %w", value, path, err)
		default:
			return nil
		}
	}
}

// read gives the trimmed content of a control file.
func read(dir, file string) (string, error) {
	b, err := os.ReadFile(dir + "/" + file)
	return string(bytes.TrimSpace(b)), err
}

// readNumber reads a control file that holds one number; "max" and what exceeds the range is the largest.
func readNumber(dir, file string) (uint64, error) {
	s, err := read(dir, file)
	if err != nil {
		return 0, err
	}
	return parseNumber(s)
}

func parseNumber(s string) (uint64, error) {
	if s == "max" || s == "-1" {
		return ^uint64(0), nil
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read number %q: %w", s, err)
	}
	return n, nil
}

// readTable reads a control file of "name number" lines.
func readTable(dir, file string) (map[string]uint64, error) {
	s, err := read(dir, file)
	if err != nil {
		return nil, err
	}
	return parseTable(s), nil
}

// parseTable skips lines it does not understand: kernels add lines.
func parseTable(s string) map[string]uint64 {
	out := map[string]uint64{}
	for line := range strings.Lines(s) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if n, err := strconv.ParseUint(value, 10, 64); err == nil {
			out[name] = n
		}
	}
	return out
}

// readPids adds the processes of dir and of every group below it.
func readPids(dir string) ([]int, error) {
	var pids []int
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist) && path != dir:
			return nil
		case err != nil:
			return err
		case !d.IsDir():
			return nil
		}
		s, err := read(path, "cgroup.procs")
		if errors.Is(err, unix.ENODEV) || errors.Is(err, fs.ErrNotExist) && path != dir {
			return nil
		}
		for _, f := range strings.Fields(s) {
			if pid, err := strconv.Atoi(f); err == nil {
				pids = append(pids, pid)
			}
		}
		return err
	})
	return pids, err
}

// removeTree removes a group and those below it, the deepest first. One that is gone is no error.
func removeTree(dir string) error {
	// Almost always there is nothing below.
	err := unix.Rmdir(dir)
	if err == nil || errors.Is(err, unix.ENOENT) {
		return nil
	}
	entries, readErr := os.ReadDir(dir)
	if readErr != nil {
		return readErr
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeTree(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	err = unix.Rmdir(dir)
	if err == nil || errors.Is(err, unix.ENOENT) {
		return nil
	}
	return &fs.PathError{Op: "remove", Path: dir, Err: err}
}

// makeDir makes a group with its parents and tells whether it is new.
func makeDir(dir string) (made bool, err error) {
	err = unix.Mkdir(dir, 0o755)
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, unix.EEXIST):
		return false, nil
	case !errors.Is(err, unix.ENOENT):
		return false, &fs.PathError{Op: "mkdir", Path: dir, Err: err}
	}
	if _, err := makeDir(filepath.Dir(dir)); err != nil {
		return false, err
	}
	err = unix.Mkdir(dir, 0o755)
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return false, &fs.PathError{Op: "mkdir", Path: dir, Err: err}
	}
	return err == nil, nil
}
