package layer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	ct "github.com/moby/moby/api/types/container"

	"github.com/cove-containers/cove/sys"
)

// Changes lists how the writable layer id differs from the layers below, as docker diff shows it: sorted, with the
// directories that changes lie in. What is at or below a path in ignore is left out, and so are directories that
// exist for it alone.
func (s *Store) Changes(ctx context.Context, id string, ignore ...string) ([]ct.FilesystemChange, error) {
	record, err := s.writable(id)
	if err != nil {
		return nil, err
	}
	below, err := s.view(ctx, record.DiffIDs)
	if err != nil {
		return nil, fmt.Errorf("changes of writable layer %s: %w", id, err)
	}
	defer below.Close()
	upper, err := os.Open(s.path("writable", id, "upper"))
	if err != nil {
		return nil, fmt.Errorf("changes of writable layer %s: %w", id, err)
	}
	defer upper.Close()
	d := differ{ctx: ctx, ignore: map[string]bool{}}
	for _, path := range ignore {
		d.ignore["/"+strings.Trim(path, "/")] = true
	}
	low, err := sys.OpenListAt(sys.Borrow(below), ".")
	if err != nil {
		return nil, fmt.Errorf("changes of writable layer %s: %w", id, err)
	}
	defer low.Close()
	changes, _, err := d.directory(sys.Borrow(upper), low, "", false)
	if err != nil {
		return nil, fmt.Errorf("changes of writable layer %s: %w", id, err)
	}
	return changes, nil
}

type differ struct {
	ctx    context.Context
	ignore map[string]bool
}

// directory compares what is in a directory of the writable layer with what is below it; low is sys.NoFD when nothing
// is. ignored tells that something was left out.
func (d *differ) directory(up, low sys.FD, path string, opaque bool) (changes []ct.FilesystemChange, ignored bool, err error) {
	if err := d.ctx.Err(); err != nil {
		return nil, false, err
	}
	names, err := sortedNames(up)
	if err != nil {
		return nil, false, err
	}
	if opaque && low != sys.NoFD { // what is not here again is gone
		lowNames, err := sortedNames(low)
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
		more, left, err := d.entry(up, low, name, path+"/"+name)
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

func (d *differ) entry(up, low sys.FD, name, path string) (changes []ct.FilesystemChange, ignored bool, err error) {
	now, isNow, err := look(up, name)
	if err != nil {
		return nil, false, err
	}
	was, wasThere, err := look(low, name)
	if err != nil {
		return nil, false, err
	}
	one := func(kind ct.ChangeType) []ct.FilesystemChange {
		return []ct.FilesystemChange{{Kind: kind, Path: path}}
	}
	switch {
	case !isNow && wasThere:
		return one(ct.ChangeDelete), false, nil
	case !isNow:
		return nil, false, nil
	case now.Kind() == sys.KindDir:
		return d.subdirectory(up, low, name, path, &now, &was, wasThere)
	case !wasThere:
		return one(ct.ChangeAdd), false, nil
	case was.Kind() == sys.KindDir:
		gone, err := d.gone(low, name, path)
		return append(one(ct.ChangeModify), gone...), false, err
	}
	differs, err := fileDiffers(up, low, name, &now, &was)
	if err != nil || !differs {
		return nil, false, err
	}
	return one(ct.ChangeModify), false, nil
}

func (d *differ) subdirectory(up, low sys.FD, name, path string, now, was *sys.Stat, wasThere bool) ([]ct.FilesystemChange, bool, error) {
	fd, err := sys.OpenListAt(up, name)
	if err != nil {
		return nil, false, err
	}
	defer fd.Close()
	lowFD, opaque := sys.NoFD, false
	if wasThere && was.Kind() == sys.KindDir {
		value, err := sys.GetXattrAt(fd, "", "trusted.overlay.opaque")
		if err != nil {
			return nil, false, err
		}
		opaque = string(value) == "y"
		if lowFD, err = sys.OpenListAt(low, name); err != nil {
			return nil, false, err
		}
		defer lowFD.Close()
	}
	inside, ignored, err := d.directory(fd, lowFD, path, opaque)
	if err != nil {
		return nil, false, err
	}
	kind := ct.ChangeModify
	switch {
	case !wasThere && len(inside) == 0 && ignored:
		return nil, true, nil
	case !wasThere:
		kind = ct.ChangeAdd
	case len(inside) == 0 && was.Mode == now.Mode && was.UID == now.UID && was.GID == now.GID:
		return nil, ignored, nil
	}
	return append([]ct.FilesystemChange{{Kind: kind, Path: path}}, inside...), ignored, nil
}

// gone lists what was in a directory that is one no more.
func (d *differ) gone(low sys.FD, name, path string) ([]ct.FilesystemChange, error) {
	fd, err := sys.OpenListAt(low, name)
	if err != nil {
		return nil, err
	}
	defer fd.Close()
	names, err := sortedNames(fd)
	var changes []ct.FilesystemChange
	for _, name := range names {
		changes = append(changes, ct.FilesystemChange{Kind: ct.ChangeDelete, Path: path + "/" + name})
	}
	return changes, err
}

// look finds name in dir; a whiteout is nothing.
func look(dir sys.FD, name string) (st sys.Stat, ok bool, err error) {
	if dir == sys.NoFD {
		return st, false, nil
	}
	st, err = sys.StatAt(dir, name)
	if errors.Is(err, fs.ErrNotExist) {
		return st, false, nil
	}
	return st, err == nil && !st.Whiteout(), err
}

// fileDiffers tells whether a file that was written to, or only opened for it, is another than the one below.
func fileDiffers(up, low sys.FD, name string, now, was *sys.Stat) (bool, error) {
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

func sortedNames(dir sys.FD) ([]string, error) {
	entries, err := sys.ReadDirectory(dir)
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name
	}
	slices.Sort(names)
	return names, err
}
