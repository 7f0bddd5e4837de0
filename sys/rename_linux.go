package sys

import "golang.org/x/sys/unix"

// RenameAt moves name in dir to newName in newDir, replacing what may be there.
func RenameAt(dir FD, name string, newDir FD, newName string) error {
	return pathError("rename", name, unix.Renameat(int(dir), name, int(newDir), newName))
}

// RenameNoReplaceAt is RenameAt that fails with fs.ErrExist rather than replace anything.
func RenameNoReplaceAt(dir FD, name string, newDir FD, newName string) error {
	return pathError("rename", name, unix.Renameat2(int(dir), name, int(newDir), newName, unix.RENAME_NOREPLACE))
}

// ExchangeAt has name in dir and newName in newDir change places, in one step.
func ExchangeAt(dir FD, name string, newDir FD, newName string) error {
	return pathError("exchange", name, unix.Renameat2(int(dir), name, int(newDir), newName, unix.RENAME_EXCHANGE))
}
