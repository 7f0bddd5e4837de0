package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// A container's folder has a file "volumes" while the container is made, and again while it is removed with its
// volumes: the anonymous ones, which go if that is cut short, for nobody else knows their names.

// DoomedFile is that file.
func DoomedFile(folder string) string { return filepath.Join(folder, "volumes") }

// Doom writes down which anonymous volumes go with the container.
func Doom(folder string, names []string) error {
	if len(names) == 0 {
		return nil
	}
	if err := os.WriteFile(DoomedFile(folder), []byte(strings.Join(names, "\n")), 0o600); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("note the container's volumes: %w", err)
	}
	return nil
}

// Spare takes back what Doom wrote, once the container is there.
func Spare(folder string) { os.Remove(DoomedFile(folder)) }

// Doomed are the volumes that were to go with the container, and whether any were.
func Doomed(folder string) (names []string, doomed bool) {
	raw, err := os.ReadFile(DoomedFile(folder))
	return strings.Fields(string(raw)), err == nil
}
