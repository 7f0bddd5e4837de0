package archive

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"os"
	"path"
	"runtime"
	"slices"

	"github.com/cove-containers/cove/sys"
)

// differencesShown is how many places Compare names before it stops.
const differencesShown = 8

// Compare holds two trees against each other: names, kinds, owners, modes, times, links, devices, extended attributes and
// every byte. It names the first places where they differ. Of a directory for which timed says no the time is not compared,
// nor that of a whiteout, which has none of its own.
func Compare(ctx context.Context, a, b *os.File, timed func(dir string) bool) ([]string, error) {
	defer runtime.KeepAlive(a)
	defer runtime.KeepAlive(b)
	c := comparison{ctx: ctx, timed: timed}
	err := c.entry("", sys.Borrow(a), sys.Borrow(b), "")
	if errors.Is(err, errEnough) {
		err = nil
	}
	return c.differs, err
}

var errEnough = errors.New("enough differences are known")

type comparison struct {
	ctx     context.Context
	timed   func(dir string) bool
	differs []string
	buffers [2][64 << 10]byte
}

// differ notes that what is at place differs.
func (c *comparison) differ(place, how string) error {
	if c.differs = append(c.differs, "/"+place+": "+how); len(c.differs) == differencesShown {
		return errEnough
	}
	return nil
}

// entry compares name in two directories; the empty name is the directories themselves.
func (c *comparison) entry(place string, a, b sys.FD, name string) error {
	if err := c.ctx.Err(); err != nil {
		return err
	}
	sa, err := sys.StatAt(a, name)
	if err != nil {
		return err
	}
	sb, err := sys.StatAt(b, name)
	if err != nil {
		return err
	}
	how, err := c.attributes(place, a, b, name, sa, sb)
	if err != nil {
		return err
	}
	if how != "" {
		if err := c.differ(place, how); err != nil {
			return err
		}
	}
	if sa.Kind() != sb.Kind() {
		return nil
	}
	switch sa.Kind() {
	case sys.KindDir:
		return c.directory(place, a, b, name)
	case sys.KindFile:
		if same, err := c.content(a, b, name); err != nil || same {
			return err
		}
		return c.differ(place, "content")
	}
	return nil
}

// attributes tells in which respect two entries differ, "" for none.
func (c *comparison) attributes(place string, a, b sys.FD, name string, sa, sb sys.Stat) (string, error) {
	switch {
	case sa.Kind() != sb.Kind():
		return "kind", nil
	case sa.UID != sb.UID || sa.GID != sb.GID:
		return "owner", nil
	case sa.Mode != sb.Mode:
		return "mode", nil
	case sa.Kind() != sys.KindDir && (sa.Size != sb.Size || sa.Rdev != sb.Rdev):
		return "size", nil
	case sa.Kind() != sys.KindDir && sa.Links != sb.Links:
		return "hard links", nil
	case !sa.Whiteout() && (sa.Kind() != sys.KindDir || c.timed(place)) && sa.Mtim != sb.Mtim:
		return "time", nil
	}
	if sa.Kind() == sys.KindSymlink {
		ta, err := sys.ReadlinkAt(a, name)
		if err != nil {
			return "", err
		}
		if tb, err := sys.ReadlinkAt(b, name); err != nil || ta != tb {
			return "target", err
		}
	}
	xa, err := allXattrs(a, name)
	if err != nil {
		return "", err
	}
	xb, err := allXattrs(b, name)
	if err != nil {
		return "", err
	}
	if !maps.Equal(xa, xb) {
		return "extended attributes", nil
	}
	return "", nil
}

// allXattrs reads all extended attributes, overlayfs' own too.
func allXattrs(dir sys.FD, name string) (map[string]string, error) {
	names, err := sys.ListXattrAt(dir, name)
	if err != nil {
		return nil, err
	}
	all := map[string]string{}
	for _, n := range names {
		value, err := sys.GetXattrAt(dir, name, n)
		if err != nil {
			return nil, err
		}
		all[n] = string(value)
	}
	return all, nil
}

func (c *comparison) directory(place string, a, b sys.FD, name string) error {
	if name == "" {
		name = "."
	}
	da, err := sys.OpenListAt(a, name)
	if err != nil {
		return err
	}
	defer da.Close()
	db, err := sys.OpenListAt(b, name)
	if err != nil {
		return err
	}
	defer db.Close()
	na, err := sortedNames(da)
	if err != nil {
		return err
	}
	nb, err := sortedNames(db)
	if err != nil {
		return err
	}
	for _, n := range slices.Compact(slices.Sorted(slices.Values(slices.Concat(na, nb)))) {
		_, inA := slices.BinarySearch(na, n)
		_, inB := slices.BinarySearch(nb, n)
		below := path.Join(place, n)
		switch {
		case inA && inB:
			err = c.entry(below, da, db, n)
		case inA:
			err = c.differ(below, "does not belong there")
		default:
			err = c.differ(below, "missing")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func sortedNames(dir sys.FD) ([]string, error) {
	entries, err := sys.ReadDirectory(dir)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name
	}
	slices.Sort(names)
	return names, nil
}

// content compares two files byte by byte.
func (c *comparison) content(a, b sys.FD, name string) (bool, error) {
	fa, err := sys.OpenFileAt(a, name)
	if err != nil {
		return false, err
	}
	defer fa.Close()
	fb, err := sys.OpenFileAt(b, name)
	if err != nil {
		return false, err
	}
	defer fb.Close()
	for {
		na, err := io.ReadFull(fa, c.buffers[0][:])
		if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
			return false, err
		}
		nb, err := io.ReadFull(fb, c.buffers[1][:])
		if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
			return false, err
		}
		if !bytes.Equal(c.buffers[0][:na], c.buffers[1][:nb]) {
			return false, nil
		}
		if na == 0 {
			return true, nil
		}
	}
}
