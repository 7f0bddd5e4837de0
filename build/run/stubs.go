package run

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/cove-containers/cove/runtime"
	"github.com/cove-containers/cove/sys"
)

// unstub removes from a root what was made there to mount something on, unless it is in use by now, and gives the folders
// that it was made in the times they had. What cannot be removed stays: the process may have made something else of it. The step's
// mounts may be there for a moment after its last process, so the root is looked at where they are not.
func (b *box) unstub(stubs []runtime.Stub) {
	root, err := sys.OpenPathInRoot(b.root.Dir, b.selected, true)
	if err != nil {
		return
	}
	defer root.Close()
	for _, s := range slices.Backward(stubs) {
		dir, err := sys.OpenPathInRoot(root, s.Dir, false)
		if err != nil {
			continue
		}
		removeStub(dir, s)
		dir.Close()
	}
}

func removeStub(dir *os.File, s runtime.Stub) {
	at := sys.Borrow(dir)
	st, err := sys.StatAt(at, s.Name)
	if err != nil {
		return
	}
	before, err := sys.StatAt(at, "")
	if err != nil {
		return
	}
	switch {
	case s.Folder && st.Kind() == sys.KindDir:
		err = sys.RmdirAt(at, s.Name)
	case !s.Folder && st.Kind() == sys.KindFile && st.Size == 0 && st.Links == 1:
		err = sys.UnlinkAt(at, s.Name)
	default:
		return
	}
	if err != nil {
		return
	}
	mtime := before.Mtim
	if mtime == s.After.Mtim { // nothing else has happened there
		mtime = s.Before.Mtim
	}
	_ = sys.TimesAt(at, "", before.Atim, mtime) // at worst the folder looks as if something had been done in it
}

// forgetCopied takes folders out of a layer that are in it only because something was made in them and removed again.
// Nobody has the layer mounted.
func (b *box) forgetCopied(w writtenLayer, stubs []runtime.Stub) error {
	_, upper, _, err := b.runner.parts.Layers.Overlay(w.name)
	if err != nil {
		return err
	}
	below, err := b.runner.parts.Layers.PileDirs(w.below)
	if err != nil {
		return err
	}
	tried := map[string]bool{}
	for _, s := range stubs {
		for dir := s.Dir; dir != "" && dir != "." && !tried[dir]; dir = path.Dir(dir) {
			gone, err := forgetFolder(upper, below, dir)
			if err != nil {
				return err
			}
			if !gone {
				break
			}
			tried[dir] = true
		}
	}
	return nil
}

// forgetFolder removes a folder from a layer where it is empty and looks as it does below. The process may have made links
// of what were folders: none is followed.
func forgetFolder(upper string, below []string, dir string) (gone bool, err error) {
	root, err := os.Open(upper)
	if err != nil {
		return false, err
	}
	defer root.Close()
	parent, err := sys.OpenDirBelow(sys.Borrow(root), path.Dir(dir))
	if err != nil {
		return errors.Is(err, fs.ErrNotExist), nil // not copied at all, or something else by now
	}
	defer parent.Close()
	name := path.Base(dir)
	here, err := sys.OpenListAt(parent, name)
	if err != nil {
		return errors.Is(err, fs.ErrNotExist), nil
	}
	defer here.Close()
	same, err := unchanged(here, below, dir)
	if err != nil || !same {
		return false, err
	}
	st, err := sys.StatAt(parent, "")
	if err != nil {
		return false, err
	}
	if err := sys.RmdirAt(parent, name); err != nil {
		return false, err
	}
	return true, sys.TimesAt(parent, "", st.Atim, st.Mtim)
}

// unchanged tells that a folder of a layer has nothing in it and looks as it does below. One with extended attributes of
// its own is taken for changed: then it stays, which does no harm.
func unchanged(here sys.FD, below []string, dir string) (bool, error) {
	entries, err := sys.ReadDirectory(here)
	if err != nil || len(entries) > 0 {
		return false, err
	}
	now, err := sys.StatAt(here, "")
	if err != nil {
		return false, err
	}
	was, there, err := look(below, dir)
	if err != nil || !there || now.Mode != was.Mode || now.UID != was.UID || now.GID != was.GID || now.Mtim != was.Mtim {
		return false, err
	}
	attributes, err := sys.ListXattrAt(here, "")
	if err != nil {
		return false, err
	}
	return !slices.ContainsFunc(attributes, func(name string) bool {
		return !strings.HasPrefix(name, "trusted.overlay.") || name == "trusted.overlay.opaque"
	}), nil
}

// look finds the folder that directories on one another, the topmost first, have at a path without links.
func look(dirs []string, name string) (st sys.Stat, there bool, err error) {
	for _, dir := range dirs {
		root, err := os.Open(dir)
		if err != nil {
			return st, false, err
		}
		fd, err := sys.OpenDirBelow(sys.Borrow(root), name)
		root.Close()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return st, false, nil // something else
		}
		st, err = sys.StatAt(fd, "")
		fd.Close()
		return st, err == nil, err
	}
	return st, false, nil
}
