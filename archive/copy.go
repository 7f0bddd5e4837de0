package archive

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"

	"github.com/cove-containers/cove/sys"
)

// CopyTree copies everything in directory src into directory dst. Directories that are there already take what is
// copied into them; anything else of the same name is fs.ErrExist. Contents are shared with the source where the file
// system can do so, holes stay holes, names of one file stay names of one file. Sockets are left out.
func CopyTree(ctx context.Context, dst, src *os.File, o CopyOptions) error {
	defer runtime.KeepAlive(dst) // the descriptors are used without the files
	defer runtime.KeepAlive(src)
	c := &copier{dst: sys.Borrow(dst), layer: o.Layer, links: map[fileID]string{}}
	from, err := sys.OpenListAt(sys.Borrow(src), ".")
	if err != nil {
		return fmt.Errorf("copy tree: %w", err)
	}
	defer from.Close()
	if err := c.kids(ctx, c.dst, from, ""); err != nil {
		return fmt.Errorf("copy tree: %w", err)
	}
	if !o.Root {
		return nil
	}
	st, err := sys.StatAt(from, "")
	if err == nil {
		err = copyAttributes(c.dst, from, "", &st)
	}
	if err != nil {
		return fmt.Errorf("copy tree: %w", err)
	}
	return nil
}

// fileID tells two names of one file from names of two.
type fileID struct{ dev, ino uint64 }

type copier struct {
	dst   sys.FD
	layer bool
	links map[fileID]string // path in dst of files that have more than one name
}

// kids copies what is in directory from; path leads to directory to, from the root.
func (c *copier) kids(ctx context.Context, to, from sys.FD, path string) error {
	entries, err := sys.ReadDirectory(from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := c.entry(ctx, to, from, e.Name, path); err != nil {
			return fmt.Errorf("%s: %w", path+e.Name, err)
		}
	}
	return nil
}

func (c *copier) entry(ctx context.Context, to, from sys.FD, name, path string) error {
	st, err := sys.StatAt(from, name)
	if err != nil {
		return err
	}
	if st.Kind() == sys.KindDir {
		return c.directory(ctx, to, from, name, path+name+"/", &st)
	}
	id := fileID{st.Dev, st.Ino}
	if first, ok := c.links[id]; ok {
		return c.link(first, to, name)
	}
	if st.Links > 1 && st.Kind() != sys.KindSocket {
		c.links[id] = path + name
	}
	return copyEntry(to, from, name, &st)
}

func (c *copier) directory(ctx context.Context, to, from sys.FD, name, path string, st *sys.Stat) error {
	if err := sys.MkdirAt(to, name, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	toKid, err := sys.OpenDirAt(to, name)
	if err != nil {
		return err
	}
	defer toKid.Close()
	fromKid, err := sys.OpenListAt(from, name)
	if err != nil {
		return err
	}
	defer fromKid.Close()
	if err := c.kids(ctx, toKid, fromKid, path); err != nil {
		return err
	}
	if c.layer {
		if err := copyOpaque(toKid, fromKid); err != nil {
			return err
		}
	}
	return copyAttributes(toKid, fromKid, "", st)
}

// link gives the file already copied to path first one more name.
func (c *copier) link(first string, to sys.FD, name string) error {
	dir, base := split(first)
	if dir == "" {
		return sys.LinkAt(c.dst, base, to, name)
	}
	fd, err := sys.OpenDirBelow(c.dst, dir)
	if err != nil {
		return err
	}
	defer fd.Close()
	return sys.LinkAt(fd, base, to, name)
}

// copyEntry copies name, which is no directory, from one directory into another; st is its stat.
func copyEntry(to, from sys.FD, name string, st *sys.Stat) error {
	switch st.Kind() {
	case sys.KindSocket:
		return nil
	case sys.KindFile:
		return copyFile(to, from, name)
	case sys.KindSymlink:
		target, err := sys.ReadlinkAt(from, name)
		if err != nil {
			return err
		}
		if err := sys.SymlinkAt(target, to, name); err != nil {
			return err
		}
	default:
		if err := sys.MknodAt(to, name, st.Mode, st.Rdev); err != nil {
			return err
		}
	}
	return copyAttributes(to, from, name, st)
}

func copyFile(to, from sys.FD, name string) error {
	in, err := sys.OpenFileAt(from, name)
	if err != nil {
		return err
	}
	defer in.Close()
	st, err := sys.StatAt(in, "") // of what was opened, whatever has the name by now
	if err != nil {
		return err
	}
	if st.Kind() != sys.KindFile {
		return fmt.Errorf("changed while it was copied: %w", fs.ErrInvalid)
	}
	out, err := sys.CreateAt(to, name, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	if err := sys.CopyContent(out, in, st.Size); err != nil {
		return err
	}
	a, err := readAttributes(in, "", &st)
	if err != nil {
		return err
	}
	return a.set(out, "", false)
}

func copyAttributes(to, from sys.FD, name string, st *sys.Stat) error {
	a, err := readAttributes(from, name, st)
	if err != nil {
		return err
	}
	return a.set(to, name, st.Kind() == sys.KindSymlink)
}

// copyOpaque makes a directory opaque where the other is.
func copyOpaque(to, from sys.FD) error {
	value, err := sys.GetXattrAt(from, "", opaqueAttribute)
	if err != nil || string(value) != "y" {
		return err
	}
	return sys.SetXattrAt(to, "", opaqueAttribute, value)
}
