package sys

import "golang.org/x/sys/unix"

// SyncFileSystem writes everything that is not yet on disk of the file system that holds the open file: one call for a whole tree.
func SyncFileSystem(d FD) error { return pathError("sync file system", "", unix.Syncfs(int(d))) }
