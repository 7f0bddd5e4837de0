package storage

import (
	"fmt"
	"os"
	"path/filepath"
)

// Folder makes a container's folder. The file in it is for programs that watch containers and know those of Docker by a file of
// this name: they come to it by the link that the daemon makes in its data root.
func Folder(folder, id string) error {
	if err := os.MkdirAll(folder, 0o710); err != nil {
		return fmt.Errorf("create container folder: %w", err)
	}
	if err := os.WriteFile(filepath.Join(folder, "mount-id"), []byte(id), 0o644); err != nil {
		return fmt.Errorf("name the container in its folder: %w", err)
	}
	return nil
}
