package archive

import (
	"errors"
	"io/fs"
	"os"
	"runtime"
	"slices"

	"github.com/cove-containers/cove/sys"
)

// Pile is a directory as several trees on one another have it, the topmost first, each with overlayfs' whiteouts: what
// these trees add up to, without what lies below them.
type Pile []sys.FD

// OpenPile opens the roots of trees, the topmost first. Whoever opens a pile closes it.
func OpenPile(roots ...*os.File) (Pile, error) {
	defer runtime.KeepAlive(roots) // the descriptors are used without the files
	var p Pile
	for _, root := range roots {
		fd, err := sys.OpenListAt(sys.Borrow(root), ".")
		if err != nil {
			p.Close()
			return nil, err
		}
		p = append(p, fd)
	}
	return p, nil
}

// Close closes the directories.
func (p Pile) Close() {
	for _, fd := range p {
		fd.Close()
	}
}

// Names lists what any of the trees has here, whiteouts too, sorted.
func (p Pile) Names() ([]string, error) {
	var names []string
	for _, fd := range p {
		entries, err := sys.ReadDirectory(fd)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			names = append(names, e.Name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// Find looks for name, which the topmost tree that has it decides on; at is the place of that tree. A whiteout is found
// as such. What no tree has is fs.ErrNotExist.
func (p Pile) Find(name string) (at int, st sys.Stat, err error) {
	for at, fd := range p {
		if st, err = sys.StatAt(fd, name); !errors.Is(err, fs.ErrNotExist) {
			return at, st, err
		}
	}
	return 0, st, fs.ErrNotExist
}

// Open opens the directory name, which Find has found at a place. opaque tells that nothing from below the pile shows
// through in it.
func (p Pile) Open(name string, at int) (kid Pile, opaque bool, err error) {
	defer func() {
		if err != nil {
			kid.Close()
			kid = nil
		}
	}()
	for _, fd := range p[at:] {
		st, err := sys.StatAt(fd, name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return kid, false, err
		}
		if st.Kind() != sys.KindDir {
			return kid, true, nil
		}
		dir, err := sys.OpenListAt(fd, name)
		if err != nil {
			return kid, false, err
		}
		kid = append(kid, dir)
		value, err := sys.GetXattrAt(dir, "", opaqueAttribute)
		if err != nil {
			return kid, false, err
		}
		if string(value) == "y" {
			return kid, true, nil
		}
	}
	return kid, false, nil
}
