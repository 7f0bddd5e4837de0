package file

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/buildkit/solver/pb"

	"github.com/cove-containers/cove/build/content"
	"github.com/cove-containers/cove/sys"
)

func invalid(format string, args ...any) error {
	return errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf(format, args...))
}

// timestamp is what an action says about times: -1 is nothing.
func timestamp(ns int64) *sys.Timespec {
	if ns == -1 {
		return nil
	}
	t := time.Unix(0, ns)
	return &sys.Timespec{Sec: t.Unix(), Nsec: int64(t.Nanosecond())}
}

// copyFiles does a copy action, from one root into another.
func copyFiles(ctx context.Context, from, to *os.File, a *pb.FileActionCopy, o *owner) error {
	src, dest := cleanPath(a.Src), cleanPath(a.Dest)
	if !a.CreateDestPath {
		if err := parentThere(to, a.Dest); err != nil {
			return err
		}
	}
	c, err := newCopier(ctx, to, a, o)
	if err != nil {
		return err
	}
	if err := required(from, a.RequiredPaths); err != nil {
		return err
	}
	sources, err := expand(from, src, a)
	if err != nil {
		return err
	}
	if len(sources) == 0 && !a.AllowEmptyWildcard {
		return errdefs.ErrNotFound.WithMessage(fmt.Sprintf("%s not found", src))
	}
	for _, s := range sources {
		if a.AttemptUnpackDockerCompatibility {
			done, err := c.unpack(from, s, dest)
			if err != nil {
				return fmt.Errorf("extract %s: %w", s, err)
			}
			if done {
				continue
			}
		}
		c.links = map[fileID]string{}
		if err := c.source(from, s, dest, a); err != nil {
			return err
		}
	}
	return nil
}

// required looks for what must be there. The digest of the source has told so already, unless the source is also what is
// written on.
func required(root *os.File, paths []string) error {
	for _, name := range paths {
		s, err := resolve(root, name, false)
		if err != nil {
			return err
		}
		_, err = s.stat()
		s.close()
		if errors.Is(err, fs.ErrNotExist) {
			return errdefs.ErrNotFound.WithMessage(fmt.Sprintf("%q: not found", name))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func parentThere(root *os.File, dest string) error {
	s, err := resolve(root, path.Join("/", dest), true)
	if err != nil {
		return err
	}
	defer s.close()
	if len(s.rest) > 1 {
		return fmt.Errorf("failed to stat %s: %w", dest, fs.ErrNotExist)
	}
	return nil
}

// expand is what the source of a copy means: itself, or what its pattern fits. What is found below a link is called by
// where it really is.
func expand(root *os.File, src string, a *pb.FileActionCopy) ([]string, error) {
	if !a.AllowWildcard {
		return []string{src}, nil
	}
	return wildcards(root, src, a.FollowSymlink)
}

func wildcards(root *os.File, src string, follow bool) ([]string, error) {
	prefix, pattern := content.SplitPattern(path.Clean(src))
	if pattern == "" {
		return []string{src}, nil
	}
	base, err := resolve(root, prefix, follow)
	if err != nil {
		return nil, err
	}
	defer base.close()
	if len(base.rest) > 0 {
		if _, err := base.stat(); err != nil {
			return nil, errdefs.ErrNotFound.WithMessage(fmt.Sprintf("%q: not found", prefix))
		}
		return nil, nil
	}
	var found []string
	err = match(base.dir, base.path, strings.Split(pattern, "/"), &found)
	return found, err
}

// match finds what fits a pattern, part by part, below an open directory.
func match(dir sys.FD, at string, pattern []string, found *[]string) error {
	entries, err := sys.ReadDirectory(dir)
	if err != nil {
		return err
	}
	slices.SortFunc(entries, func(a, b sys.Entry) int { return strings.Compare(a.Name, b.Name) })
	for _, e := range entries {
		ok, err := path.Match(pattern[0], e.Name)
		if err != nil {
			return invalid("invalid pattern %q: %v", strings.Join(pattern, "/"), err)
		}
		if !ok {
			continue
		}
		full := path.Join("/", at, e.Name)
		if len(pattern) == 1 {
			*found = append(*found, full)
			continue
		}
		kid, err := sys.OpenListAt(dir, e.Name)
		if sys.IsNotDir(err) {
			continue
		}
		if err == nil {
			err = match(kid, full, pattern[1:], found)
			kid.Close()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// source copies one file or directory of the source's root to dest.
func (c *copier) source(from *os.File, src, dest string, a *pb.FileActionCopy) error {
	s, err := resolve(from, src, a.FollowSymlink)
	if err != nil {
		return err
	}
	defer s.close()
	st, err := s.stat()
	if errors.Is(err, fs.ErrNotExist) {
		return errdefs.ErrNotFound.WithMessage(fmt.Sprintf("%q: not found", path.Clean(src)))
	}
	if err != nil {
		return err
	}
	d, made, err := c.target(dest, path.Base(src), st.Kind() == sys.KindDir, a.DirCopyContents)
	if err != nil {
		return err
	}
	defer d.close()
	name := ""
	if len(d.rest) == 1 {
		name = d.rest[0]
	}
	p := pair{from: s.dir, to: &level{path: d.path, dir: d.dir, stat: st}, toName: name}
	if len(s.rest) == 1 {
		p.fromName = s.rest[0]
	}
	if err := c.entry(p, false); err != nil {
		return err
	}
	return c.making.touchAll(c.root, made)
}

// target finds where a source called base goes, and makes the directories on the way. The spot is the place itself: its
// directory when rest is empty, else the one name left.
func (c *copier) target(dest, base string, dir, contents bool) (d *spot, made []string, err error) {
	if d, err = resolve(c.root, dest, true); err != nil {
		return nil, nil, err
	}
	opened := d // returns of failures set d
	defer func() {
		if err != nil {
			opened.close()
		}
	}()
	if strings.HasSuffix(dest, "/") || strings.HasSuffix(dest, "/.") {
		if made, err = c.way(d, 0, made); err != nil {
			return nil, made, err
		}
	}
	_, err = d.stat()
	there := err == nil
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, made, err
	}
	leave := 1
	switch {
	case there && len(d.rest) == 0 && !(dir && contents):
		d.rest = []string{base}
		if base == "/" || base == "." {
			d.rest = nil
		}
	case there && len(d.rest) == 1 && dir && !contents:
		return nil, made, d.fails("mkdir", syscall.ENOTDIR)
	case !there && dir && contents:
		leave = 0
	}
	made, err = c.way(d, leave, made)
	return d, made, err
}

func (c *copier) way(d *spot, leave int, made []string) ([]string, error) {
	more, err := d.mkdirs(leave, c.making)
	return append(made, more...), err
}

// mkdir does a mkdir action.
func mkdir(root *os.File, a *pb.FileActionMkDir, o *owner) error {
	s, err := resolve(root, path.Join("/", a.Path), true)
	if err != nil {
		return err
	}
	defer s.close()
	m := making{perm: uint32(a.Mode) & 0o777, owner: o, time: timestamp(a.Timestamp)}
	if !a.MakeParents {
		if len(s.rest) > 1 {
			return s.fails("mkdir", fs.ErrNotExist)
		}
		if _, err := s.stat(); err == nil {
			return nil
		}
	}
	made, err := s.mkdirs(0, m)
	if err != nil {
		return err
	}
	return m.touchAll(root, made)
}

// place opens the directory that the last name of a path lies in, which must be there.
func place(root *os.File, op, name string) (s *spot, err error) {
	if s, err = resolve(root, path.Join("/", name), true); err != nil {
		return nil, err
	}
	switch len(s.rest) {
	case 1:
		return s, nil
	case 0:
		err = s.fails(op, syscall.EISDIR)
	default:
		err = s.fails(op, fs.ErrNotExist)
	}
	s.close()
	return nil, err
}

// mkfile does a mkfile action: whatever had the name, a link's target too, is replaced and never written to.
func mkfile(root *os.File, a *pb.FileActionMkFile, o *owner) error {
	s, err := place(root, "mkfile", a.Path)
	if err != nil {
		return err
	}
	defer s.close()
	name := s.rest[0]
	if err := sys.UnlinkAt(s.dir, name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return s.fails("mkfile", err)
	}
	f, err := sys.CreateAt(s.dir, name, 0o600)
	if err != nil {
		return s.fails("mkfile", err)
	}
	defer f.Close()
	if _, err := f.Write(a.Data); err != nil {
		return s.fails("mkfile", err)
	}
	m := making{perm: uint32(a.Mode) & 0o777, owner: o, time: timestamp(a.Timestamp)}
	if err := m.apply(f, ""); err != nil {
		return s.fails("mkfile", err)
	}
	return nil
}

// symlink does a symlink action.
func symlink(root *os.File, a *pb.FileActionSymlink, o *owner) error {
	s, err := place(root, "symlink", a.Newpath)
	if err != nil {
		return err
	}
	defer s.close()
	if err := sys.SymlinkAt(a.Oldpath, s.dir, s.rest[0]); err != nil {
		return s.fails("symlink", err)
	}
	if o != nil {
		if err := sys.ChownAt(s.dir, s.rest[0], o.uid, o.gid); err != nil {
			return s.fails("symlink", err)
		}
	}
	if err := (making{time: timestamp(a.Timestamp)}).touch(s.dir, s.rest[0]); err != nil {
		return s.fails("symlink", err)
	}
	return nil
}

// remove does an rm action.
func remove(root *os.File, a *pb.FileActionRm) error {
	names := []string{path.Join("/", a.Path)}
	if a.AllowWildcard {
		var err error
		if names, err = wildcards(root, names[0], false); err != nil && !errdefs.IsNotFound(err) {
			return err
		}
	}
	for _, name := range names {
		if path.Clean(name) == "/" {
			return invalid("rmPath: invalid empty path")
		}
		if err := removeOne(root, name, a.AllowNotFound); err != nil {
			return err
		}
	}
	return nil
}

func removeOne(root *os.File, name string, allowNotFound bool) error {
	s, err := resolve(root, path.Dir(name), true)
	if err != nil {
		return err
	}
	defer s.close()
	base := path.Base(name)
	err = fs.ErrNotExist
	if len(s.rest) == 0 {
		_, err = sys.StatAt(s.dir, base)
	}
	if errors.Is(err, fs.ErrNotExist) {
		if allowNotFound {
			return nil
		}
		return &fs.PathError{Op: "rm", Path: name, Err: fs.ErrNotExist}
	}
	if err != nil {
		return err
	}
	return sys.RemoveTreeAt(s.dir, base)
}
