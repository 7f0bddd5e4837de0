package rootfs

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/cove-containers/cove/sys"
)

// copyUp fills a new file system with what the root has at its place, as the option tmpcopyup asks for. Nothing there
// means nothing to copy.
func (r *Root) copyUp(m *mount) error {
	place, err := r.find(m.Destination, false)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	defer place.Close()
	from, err := sys.OpenListAt(sys.Borrow(place), ".")
	if err != nil {
		return err
	}
	defer from.Close()
	into := sys.Borrow(m.source)
	if err := copyEntries(into, from); err != nil {
		return err
	}
	return copyAttributes(into, ".", from, ".")
}

// copyEntries copies folders, files, links and devices; a hard link becomes a file of its own.
func copyEntries(into, from sys.FD) error {
	entries, err := sys.ReadDirectory(from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := copyEntry(into, from, e.Name); err != nil {
			return fmt.Errorf("copy %s: %w", e.Name, err)
		}
	}
	return nil
}

func copyEntry(into, from sys.FD, name string) error {
	st, err := sys.StatAt(from, name)
	if err != nil {
		return err
	}
	switch st.Kind() {
	case sys.KindDir:
		err = copyFolder(into, from, name)
	case sys.KindFile:
		err = copyFile(into, from, name, st.Size)
	case sys.KindSymlink:
		var target string
		if target, err = sys.ReadlinkAt(from, name); err == nil {
			err = sys.SymlinkAt(target, into, name)
		}
	default:
		err = sys.MknodAt(into, name, st.Mode, st.Rdev)
	}
	if err != nil {
		return err
	}
	return copyAttributes(into, name, from, name)
}

func copyFolder(into, from sys.FD, name string) error {
	if err := sys.MkdirAt(into, name, 0o700); err != nil {
		return err
	}
	below, err := sys.OpenListAt(from, name)
	if err != nil {
		return err
	}
	defer below.Close()
	made, err := sys.OpenDirAt(into, name)
	if err != nil {
		return err
	}
	defer made.Close()
	return copyEntries(made, below)
}

func copyFile(into, from sys.FD, name string, size int64) error {
	src, err := sys.OpenFileAt(from, name)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := sys.CreateAt(into, name, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(sys.CopyContent(dst, src, size), dst.Close())
}

// copyAttributes gives a copy its owner, mode and times; the owner first, for changing it clears set-id bits.
func copyAttributes(into sys.FD, name string, from sys.FD, source string) error {
	st, err := sys.StatAt(from, source)
	if err != nil {
		return err
	}
	if err := sys.ChownAt(into, name, int(st.UID), int(st.GID)); err != nil {
		return err
	}
	if st.Kind() != sys.KindSymlink {
		if err := sys.ChmodAt(into, name, st.Mode&^sys.KindMask); err != nil {
			return err
		}
	}
	return sys.TimesAt(into, name, st.Atim, st.Mtim)
}
