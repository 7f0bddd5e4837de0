package file

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"github.com/cove-containers/cove/sys"
)

// maxLinks is how many links a path may lead through, as in the kernel.
const maxLinks = 40

// spot is where a path leads inside a root, all links on the way followed: a directory that is there, open, and what of
// the path is not. Where that is a single name, it may be that of a file, or of a link that was not to be followed.
type spot struct {
	dir  sys.FD
	path string   // of dir, below the root, which is ""
	rest []string // names below dir
}

// full is the whole path, from the root.
func (s *spot) full() string { return path.Join("/", s.path, path.Join(s.rest...)) }

func (s *spot) close() { s.dir.Close() }

// walker resolves one path.
type walker struct {
	way   []sys.FD // directories open, from the root
	names []string // of those below the root
	rest  []string // names from there that are not there
	links int
}

// resolve finds where name leads. follow also follows a link at its end. No ".." and no link leads out of the root.
func resolve(root *os.File, name string, follow bool) (s *spot, err error) {
	top, err := sys.OpenListAt(sys.Borrow(root), ".")
	runtime.KeepAlive(root)
	if err != nil {
		return nil, err
	}
	w := &walker{way: []sys.FD{top}}
	defer func() {
		last := len(w.way)
		if err == nil {
			last--
		}
		for _, fd := range w.way[:last] {
			fd.Close()
		}
	}()
	parts := strings.Split(name, "/")
	for len(parts) > 0 {
		part := parts[0]
		parts = parts[1:]
		target, err := w.step(part, follow || more(parts))
		if err != nil {
			return nil, &fs.PathError{Op: "open", Path: path.Join("/", name), Err: err}
		}
		if target != "" {
			parts = append(strings.Split(target, "/"), parts...)
		}
	}
	return &spot{dir: w.way[len(w.way)-1], path: path.Join(w.names...), rest: w.rest}, nil
}

// more tells whether anything follows in a path.
func more(rest []string) bool {
	return slices.ContainsFunc(rest, func(part string) bool { return part != "" && part != "." })
}

// step goes to the next part of a path, or tells the target of the link that stands there.
func (w *walker) step(part string, follow bool) (target string, err error) {
	switch {
	case part == "" || part == ".":
		return "", nil
	case part == ".." && len(w.rest) > 0:
		w.rest = w.rest[:len(w.rest)-1]
		return "", nil
	case part == "..":
		w.up()
		return "", nil
	case len(w.rest) == 1:
		if _, err := sys.StatAt(w.way[len(w.way)-1], w.rest[0]); err == nil {
			return "", syscall.ENOTDIR
		}
		fallthrough
	case len(w.rest) > 0:
		w.rest = append(w.rest, part)
		return "", nil
	}
	at := w.way[len(w.way)-1]
	fd, err := sys.OpenListAt(at, part)
	if err == nil {
		w.way, w.names = append(w.way, fd), append(w.names, part)
		return "", nil
	}
	if !errors.Is(err, fs.ErrNotExist) && !sys.IsNotDir(err) {
		return "", errors.Unwrap(err)
	}
	if st, err := sys.StatAt(at, part); err == nil && st.Kind() == sys.KindSymlink && follow {
		if target, err = sys.ReadlinkAt(at, part); err != nil {
			return "", err
		}
		if w.links++; w.links > maxLinks {
			return "", syscall.ELOOP
		}
		if strings.HasPrefix(target, "/") {
			for len(w.names) > 0 {
				w.up()
			}
		}
		return target, nil
	}
	w.rest = append(w.rest, part)
	return "", nil
}

func (w *walker) up() {
	if len(w.names) == 0 {
		return
	}
	last := len(w.way) - 1
	w.way[last].Close()
	w.way, w.names = w.way[:last], w.names[:last-1]
}

// stat is what stands at the spot; fs.ErrNotExist when nothing does.
func (s *spot) stat() (sys.Stat, error) {
	switch len(s.rest) {
	case 0:
		return sys.StatAt(s.dir, "")
	case 1:
		return sys.StatAt(s.dir, s.rest[0])
	}
	return sys.Stat{}, &fs.PathError{Op: "stat", Path: s.full(), Err: fs.ErrNotExist}
}

// making says what directories shall be that are made on the way to something.
type making struct {
	perm  uint32
	owner *owner
	time  *sys.Timespec
}

// mkdirs makes the directories that the spot's path lacks, up to the last but leave, and goes to the last of them. It
// tells the paths of those it made.
func (s *spot) mkdirs(leave int, m making) (made []string, err error) {
	for len(s.rest) > leave {
		name := s.rest[0]
		fresh := true
		if err := sys.MkdirAt(s.dir, name, 0o700); errors.Is(err, fs.ErrExist) {
			fresh = false
		} else if err != nil {
			return made, s.fails("mkdir", err)
		}
		fd, err := sys.OpenListAt(s.dir, name)
		if err != nil {
			return made, s.fails("mkdir", err)
		}
		s.dir.Close()
		s.dir, s.path, s.rest = fd, path.Join(s.path, name), s.rest[1:]
		if !fresh {
			continue
		}
		made = append(made, s.path)
		if err := m.apply(s.dir, ""); err != nil {
			return made, s.fails("mkdir", err)
		}
	}
	return made, nil
}

// apply gives what was just made its owner, mode and time.
func (m making) apply(dir sys.FD, name string) error {
	if m.owner != nil {
		if err := sys.ChownAt(dir, name, m.owner.uid, m.owner.gid); err != nil {
			return err
		}
	}
	if err := sys.ChmodAt(dir, name, m.perm); err != nil {
		return err
	}
	return m.touch(dir, name)
}

func (m making) touch(dir sys.FD, name string) error {
	if m.time == nil {
		return nil
	}
	return sys.TimesAt(dir, name, *m.time, *m.time)
}

// touchAll sets the time of directories made before once more: what was put into them has changed it.
func (m making) touchAll(root *os.File, paths []string) error {
	if m.time == nil {
		return nil
	}
	for _, p := range slices.Backward(paths) {
		fd, err := sys.OpenDirBelow(sys.Borrow(root), p)
		if err != nil {
			return err
		}
		err = m.touch(fd, "")
		fd.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// fails puts the path as the build knows it into an error.
func (s *spot) fails(op string, err error) error {
	var inner *fs.PathError
	if errors.As(err, &inner) {
		err = inner.Err
	}
	return &fs.PathError{Op: op, Path: s.full(), Err: err}
}

// cleanPath makes a path absolute and keeps what its end says: "/." and "/" mean the contents of a directory.
func cleanPath(s string) string {
	clean := path.Join("/", s)
	switch {
	case strings.HasSuffix(s, "/."):
		return strings.TrimSuffix(clean, "/") + "/."
	case strings.HasSuffix(s, "/") && clean != "/":
		return clean + "/"
	}
	return clean
}
