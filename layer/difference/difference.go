// Package difference tells how one pile of directories differs from another, as docker diff shows it.
package difference

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"

	ct "github.com/moby/moby/api/types/container"

	"github.com/cove-containers/cove/archive"
	"github.com/cove-containers/cove/sys"
)

// Between compares two piles: upper lies on lower, or, when whole is set, stands beside it as the other version of the same
// tree. What is at or below a path in ignore is left out, and so are directories that exist for it alone.
func Between(ctx context.Context, upper, lower archive.Pile, whole bool, ignore []string) ([]ct.FilesystemChange, error) {
	d := differ{ctx: ctx, ignore: map[string]bool{}}
	for _, path := range ignore {
		d.ignore["/"+strings.Trim(path, "/")] = true
	}
	changes, _, err := d.directory(upper, lower, "", whole)
	return changes, err
}

type differ struct {
	ctx    context.Context
	ignore map[string]bool
}

// directory compares what is in a directory with what was; low is empty when nothing was. whole tells that what is not
// here is gone. ignored tells that something was left out.
func (d *differ) directory(up, low archive.Pile, path string, whole bool) (changes []ct.FilesystemChange, ignored bool, err error) {
	if err := d.ctx.Err(); err != nil {
		return nil, false, err
	}
	names, err := up.Names()
	if err != nil {
		return nil, false, err
	}
	if whole {
		lowNames, err := low.Names()
		if err != nil {
			return nil, false, err
		}
		names = slices.Compact(slices.Sorted(slices.Values(append(names, lowNames...))))
	}
	for _, name := range names {
		if d.ignore[path+"/"+name] {
			ignored = true
			continue
		}
		more, left, err := d.entry(up, low, name, path+"/"+name, whole)
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed meanwhile
		}
		if err != nil {
			return nil, false, err
		}
		changes = append(changes, more...)
		ignored = ignored || left
	}
	return changes, ignored, nil
}

// seen is what a pile has under a name.
type seen struct {
	at    int
	st    sys.Stat
	there bool
}

// look finds name in a pile; a whiteout is nothing.
func look(in archive.Pile, name string) (seen, error) {
	at, st, err := in.Find(name)
	if errors.Is(err, fs.ErrNotExist) {
		return seen{}, nil
	}
	return seen{at, st, err == nil && !st.Whiteout()}, err
}

func (d *differ) entry(up, low archive.Pile, name, path string, whole bool) (changes []ct.FilesystemChange, ignored bool, err error) {
	now, err := look(up, name)
	if err != nil {
		return nil, false, err
	}
	was, err := look(low, name)
	if err != nil {
		return nil, false, err
	}
	one := func(kind ct.ChangeType) []ct.FilesystemChange {
		return []ct.FilesystemChange{{Kind: kind, Path: path}}
	}
	switch {
	case !now.there && was.there:
		return one(ct.ChangeDelete), false, nil
	case !now.there:
		return nil, false, nil
	case now.st.Kind() == sys.KindDir:
		return d.subdirectory(up, low, name, path, now, was, whole)
	case !was.there:
		return one(ct.ChangeAdd), false, nil
	case was.st.Kind() == sys.KindDir:
		gone, err := gone(low, name, path, was.at)
		return append(one(ct.ChangeModify), gone...), false, err
	}
	differs, err := fileDiffers(up[now.at], low[was.at], name, &now.st, &was.st)
	if err != nil || !differs {
		return nil, false, err
	}
	return one(ct.ChangeModify), false, nil
}

func (d *differ) subdirectory(up, low archive.Pile, name, path string, now, was seen, whole bool) ([]ct.FilesystemChange, bool, error) {
	kid, opaque, err := up.Open(name, now.at)
	if err != nil {
		return nil, false, err
	}
	defer kid.Close()
	var lowKid archive.Pile
	if was.there && was.st.Kind() == sys.KindDir {
		if lowKid, _, err = low.Open(name, was.at); err != nil {
			return nil, false, err
		}
		defer lowKid.Close()
		if whole && sameDirectories(kid, lowKid) {
			return nil, false, nil
		}
	}
	inside, ignored, err := d.directory(kid, lowKid, path, whole || opaque)
	if err != nil {
		return nil, false, err
	}
	kind := ct.ChangeModify
	switch {
	case !was.there && len(inside) == 0 && ignored:
		return nil, true, nil
	case !was.there:
		kind = ct.ChangeAdd
	case len(inside) == 0 && was.st.Mode == now.st.Mode && was.st.UID == now.st.UID && was.st.GID == now.st.GID:
		return nil, ignored, nil
	}
	return append([]ct.FilesystemChange{{Kind: kind, Path: path}}, inside...), ignored, nil
}

// sameDirectories tells that two piles consist of the very same directories, and so have the same in them.
func sameDirectories(a, b archive.Pile) bool {
	return slices.EqualFunc(a, b, func(x, y sys.FD) bool {
		one, err := sys.StatAt(x, "")
		other, failed := sys.StatAt(y, "")
		return err == nil && failed == nil && one.Dev == other.Dev && one.Ino == other.Ino
	})
}

// gone lists what was in a directory that is one no more.
func gone(low archive.Pile, name, path string, at int) ([]ct.FilesystemChange, error) {
	kid, _, err := low.Open(name, at)
	if err != nil {
		return nil, err
	}
	defer kid.Close()
	names, err := kid.Names()
	if err != nil {
		return nil, err
	}
	var changes []ct.FilesystemChange
	for _, name := range names {
		was, err := look(kid, name)
		if err != nil {
			return nil, err
		}
		if was.there {
			changes = append(changes, ct.FilesystemChange{Kind: ct.ChangeDelete, Path: path + "/" + name})
		}
	}
	return changes, nil
}

// fileDiffers tells whether a file that was written to, or only opened for it, is another than the one below.
func fileDiffers(up, low sys.FD, name string, now, was *sys.Stat) (bool, error) {
	if now.Dev == was.Dev && now.Ino == was.Ino {
		return false, nil
	}
	if now.Mode != was.Mode || now.UID != was.UID || now.GID != was.GID || now.Rdev != was.Rdev || now.Size != was.Size || now.Mtim != was.Mtim {
		return true, nil
	}
	capability, err := sys.GetXattrAt(up, name, "security.capability")
	if err != nil {
		return false, err
	}
	before, err := sys.GetXattrAt(low, name, "security.capability")
	return !bytes.Equal(capability, before), err
}
