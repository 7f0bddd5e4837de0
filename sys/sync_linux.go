package sys

import "golang.org/x/sys/unix"

// SyncFileSystem writes everything that is not yet on disk of the file system that holds the open file: one call for a whole tree.
func SyncFileSystem(d FD) error { return pathError("sync file system", "", unix.Syncfs(int(d))) }

// SyncAt makes the names in directory name of dir durable.
func SyncAt(dir FD, name string) error {
	fd, err := OpenListAt(dir, name)
	if err != nil {
		return err
	}
	defer fd.Close()
	return pathError("sync", name, unix.Fsync(int(fd)))
}
