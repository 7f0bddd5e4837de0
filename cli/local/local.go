// Package local packs files of the user's own machine into tar archives and unpacks archives there, by the rules of
// cp between a container and the outside. It works on every system the command line is made for.
package local

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// The failures that clients know by these words.
var (
	errNoDirectory   = errors.New("no such directory")
	errCopyDirectory = errors.New("cannot copy directory")
)

// Node is one end of a copy: what is to be copied, or where to.
type Node struct {
	// Path is in slashes for the inside of a container; a slash or "/." at its end asks for a directory.
	Path          string
	Exists, IsDir bool
}

// Place decides where an archive of a source is unpacked: in directory dir, the source itself being called name there.
// The name "." stands for dir itself. sourceName is what the source is called if nothing speaks against it, "." for
// the content of a directory.
func Place(source Node, sourceName string, target Node) (dir, name string, err error) {
	switch {
	case target.Exists && target.IsDir:
		return target.Path, sourceName, nil
	case target.Exists && source.IsDir:
		return "", "", errCopyDirectory
	case !target.Exists && !source.IsDir && wantsDirectory(target.Path):
		return "", "", errNoDirectory
	}
	dir, name = Split(target.Path)
	return dir, name, nil
}

// wantsDirectory tells whether a path speaks of a directory by its end.
func wantsDirectory(p string) bool {
	p = filepath.ToSlash(p)
	return p == "." || strings.HasSuffix(p, "/") || strings.HasSuffix(p, "/.")
}

// Split cuts a path into the directory and the name in it; "/." at the end is a name of its own.
func Split(p string) (dir, name string) {
	p = filepath.ToSlash(p)
	dot := p == "." || strings.HasSuffix(p, "/.")
	p = path.Clean(p)
	if dot {
		return p, "."
	}
	return path.Dir(p), path.Base(p)
}

// Absolute is p from the root of the file system, with the slash or "/." at its end kept.
func Absolute(p string) (string, error) {
	whole, err := filepath.Abs(p)
	if err != nil {
		return "", err
	}
	slashed := filepath.ToSlash(p)
	switch {
	case slashed == "." || strings.HasSuffix(slashed, "/."):
		return strings.TrimSuffix(whole, string(filepath.Separator)) + string(filepath.Separator) + ".", nil
	case strings.HasSuffix(slashed, "/") && !os.IsPathSeparator(whole[len(whole)-1]):
		return whole + string(filepath.Separator), nil
	}
	return whole, nil
}

// Source finds what is to be copied from here, and what it is called. A link is copied as a link unless follow or a
// slash at its end asks for what it leads to.
func Source(p string, follow bool) (n Node, name string, err error) {
	n = Node{Path: p, Exists: true}
	_, name = Split(p)
	stat := os.Lstat
	if follow || wantsDirectory(p) {
		stat = os.Stat
	}
	info, err := stat(p)
	if err != nil {
		return n, name, err
	}
	if follow {
		if n.Path, err = filepath.EvalSymlinks(p); err != nil {
			return n, name, err
		}
	}
	n.IsDir = info.IsDir()
	return n, name, nil
}

// Target finds where to copy to here: links are followed, also one that leads to nothing yet, as long as the
// directory is there that the last one leads to.
func Target(p string) (Node, error) {
	const most = 10
	info, err := os.Lstat(p)
	for range most {
		if err != nil || info.Mode()&fs.ModeSymlink == 0 {
			break
		}
		link, readErr := os.Readlink(p)
		if readErr != nil {
			return Node{}, readErr
		}
		if !filepath.IsAbs(link) {
			link = filepath.Join(filepath.Dir(filepath.Clean(p)), link)
		}
		p = link
		info, err = os.Lstat(p)
	}
	switch {
	case err == nil && info.Mode()&fs.ModeSymlink != 0:
		return Node{}, errors.New("too many symlinks in " + p)
	case err == nil:
		return Node{Path: p, Exists: true, IsDir: info.IsDir()}, nil
	case !errors.Is(err, fs.ErrNotExist):
		return Node{}, err
	}
	dir, _ := Split(p)
	parent, err := os.Stat(dir)
	if err == nil && !parent.IsDir() {
		err = errors.New("not a directory")
	}
	return Node{Path: p}, err
}
