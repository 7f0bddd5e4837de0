package local

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"
)

// Unpack puts what an archive has under the name old into directory dir, under another name; "." stands for dir itself.
// Nothing is written outside of dir, whatever the archive says, and no directory replaces anything else or the reverse.
// What is made belongs to the user.
func Unpack(r io.Reader, dir, old, name string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	u := &unpacker{root: root, old: strings.TrimSuffix(old, "/") + "/", name: name}
	in := tar.NewReader(r)
	for {
		h, err := in.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if err := u.entry(h, in); err != nil {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
	}
	if err := u.finish(); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, r)
	return err
}

type unpacker struct {
	root      *os.Root
	old, name string
	dirs      []*tar.Header // in the order they came; what they are is set last
}

// rename gives what is called p in the archive its name in the root; empty for the root itself.
func (u *unpacker) rename(p string) (string, error) {
	rest, ok := strings.CutPrefix(p+"/", u.old)
	if !ok {
		return "", fmt.Errorf("the archive should have %s only", u.old)
	}
	renamed := path.Join(u.name, strings.TrimSuffix(rest, "/"))
	if renamed == "." {
		return "", nil
	}
	if renamed == ".." || strings.HasPrefix(renamed, "../") || strings.HasPrefix(renamed, "/") {
		return "", errors.New("leads out of the destination")
	}
	return renamed, nil
}

func (u *unpacker) entry(h *tar.Header, content io.Reader) (err error) {
	if h.Name, err = u.rename(h.Name); err != nil || h.Name == "" {
		return err
	}
	if err := u.clear(h); err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeDir:
		u.dirs = append(u.dirs, h)
		if err := u.root.Mkdir(h.Name, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		return nil
	case tar.TypeReg:
		return u.file(h, content)
	case tar.TypeSymlink:
		if err := u.root.Symlink(h.Linkname, h.Name); err != nil {
			return err
		}
		return u.special(h)
	case tar.TypeLink:
		target, err := u.rename(h.Linkname)
		if err != nil {
			return err
		}
		return u.root.Link(target, h.Name)
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		return u.special(h)
	}
	return fmt.Errorf("entry of unknown kind %q", h.Typeflag)
}

// clear removes what is at an entry's place, unless it is a directory and the entry is one.
func (u *unpacker) clear(h *tar.Header) error {
	info, err := u.root.Lstat(h.Name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	isDir := h.Typeflag == tar.TypeDir
	switch {
	case err != nil:
		return err
	case info.IsDir() && !isDir:
		return errors.New("cannot overwrite directory with non-directory")
	case !info.IsDir() && isDir:
		return errors.New("cannot overwrite non-directory with directory")
	case isDir:
		return nil
	}
	return u.root.Remove(h.Name)
}

func (u *unpacker) file(h *tar.Header, content io.Reader) error {
	f, err := u.root.OpenFile(h.Name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, content)
	if err == nil {
		err = f.Chmod(h.FileInfo().Mode())
	}
	if err == nil {
		setAttributes(f, h)
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return err
	}
	return u.root.Chtimes(h.Name, time.Time{}, h.ModTime)
}

// special makes a device or fifo, or gives a link its time, where the system can.
func (u *unpacker) special(h *tar.Header) error {
	dir, err := u.root.Open(path.Dir(h.Name))
	if err != nil {
		return err
	}
	defer dir.Close()
	return makeSpecial(dir, path.Base(h.Name), h)
}

// finish says what directories are, the innermost first: nothing more is written into them.
func (u *unpacker) finish() error {
	for i := len(u.dirs) - 1; i >= 0; i-- {
		h := u.dirs[i]
		d, err := u.root.Open(h.Name)
		if err != nil {
			return err
		}
		setAttributes(d, h)
		d.Close()
		if err := u.root.Chmod(h.Name, h.FileInfo().Mode()); err != nil {
			return err
		}
		if err := u.root.Chtimes(h.Name, time.Time{}, h.ModTime); err != nil {
			return err
		}
	}
	return nil
}
