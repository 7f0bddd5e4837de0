package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// claim writes the pid file, unless the daemon of an earlier one still runs, and the instance's mark.
func claim(s *settings) error {
	raw, err := os.ReadFile(s.pidfile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read pid file: %w", err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(raw)))
	if err == nil && pid != os.Getpid() && sameProgram(pid) {
		return fmt.Errorf("process with PID %d is still running (pid file %s): another engine uses this exec root", pid, s.pidfile)
	}
	if err := os.MkdirAll(filepath.Dir(s.pidfile), 0o755); err != nil {
		return fmt.Errorf("write pid file: %w", err)
	}
	for path, text := range map[string]string{
		s.pidfile:                         strconv.Itoa(os.Getpid()),
		filepath.Join(s.execRoot, "mark"): s.mark() + "\n",
	} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return fmt.Errorf("write %s: %w", filepath.Base(path), err)
		}
	}
	return nil
}

// sameProgram tells whether the process pid runs this program: the number may have passed to another since.
func sameProgram(pid int) bool {
	theirs, err := os.Readlink("/proc/" + strconv.Itoa(pid) + "/exe")
	if err != nil {
		return false
	}
	ours, err := os.Executable()
	return err == nil && filepath.Base(strings.TrimSuffix(theirs, " (deleted)")) == filepath.Base(ours)
}
