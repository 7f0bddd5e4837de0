package local

import (
	"archive/tar"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"time"
)

// Pack writes the file or directory at p as a tar archive, in which it is called name.
func Pack(w io.Writer, p, name string) error {
	k := &packer{w: tar.NewWriter(w), links: map[fileID]string{}, buf: make([]byte, 256<<10)}
	if err := k.entry(p, name); err != nil {
		return err
	}
	return k.w.Close()
}

type packer struct {
	w     *tar.Writer
	links map[fileID]string // where a file of several names was first met
	buf   []byte
}

// fileID tells files apart.
type fileID struct{ dev, ino uint64 }

func (k *packer) entry(p, name string) error {
	info, err := os.Lstat(p)
	if err != nil {
		return err
	}
	target := ""
	switch mode := info.Mode(); {
	case mode.IsRegular():
		return k.file(p, name)
	case mode&fs.ModeSocket != 0:
		return nil
	case mode&fs.ModeSymlink != 0:
		if target, err = os.Readlink(p); err != nil {
			return err
		}
	}
	h, err := header(info, filepath.ToSlash(target), name)
	if err != nil {
		return fmt.Errorf("%s: %w", p, err)
	}
	if info.IsDir() {
		h.Name = path.Clean(name) + "/"
	}
	addAttributes(h, p)
	if err := k.w.WriteHeader(h); err != nil {
		return fmt.Errorf("%s: %w", p, err)
	}
	if !info.IsDir() {
		return nil
	}
	kids, err := os.ReadDir(p)
	if err != nil {
		return err
	}
	for _, kid := range kids {
		if err := k.entry(filepath.Join(p, kid.Name()), h.Name+kid.Name()); err != nil {
			return err
		}
	}
	return nil
}

// file writes a regular file. What it says and what is read come from one open file.
func (k *packer) file(p, name string) error {
	f, err := os.Open(p)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	h, err := header(info, "", name)
	if err != nil {
		return fmt.Errorf("%s: %w", p, err)
	}
	if id, several := identify(info); several {
		if first, met := k.links[id]; met {
			h.Typeflag, h.Linkname, h.Size = tar.TypeLink, first, 0
			return k.w.WriteHeader(h)
		}
		k.links[id] = name
	}
	addAttributes(h, p)
	if err := k.w.WriteHeader(h); err != nil {
		return fmt.Errorf("%s: %w", p, err)
	}
	if n, err := io.CopyBuffer(struct{ io.Writer }{k.w}, io.LimitReader(f, h.Size), k.buf); err != nil {
		return fmt.Errorf("%s: %w", p, err)
	} else if n < h.Size {
		return fmt.Errorf("%s: became shorter while it was copied", p)
	}
	return nil
}

// nameless is a file whose owners are numbers: their names are not looked up.
type nameless struct{ fs.FileInfo }

func (nameless) Uname() (string, error) { return "", nil }
func (nameless) Gname() (string, error) { return "", nil }

// header describes a file as far as it means something on another machine: numbers for owners, whole seconds.
func header(info fs.FileInfo, target, name string) (*tar.Header, error) {
	h, err := tar.FileInfoHeader(nameless{info}, target)
	if err != nil {
		return nil, err
	}
	h.Name = name
	h.ModTime, h.AccessTime, h.ChangeTime = info.ModTime().Truncate(time.Second), time.Time{}, time.Time{}
	h.Format = tar.FormatPAX
	h.Mode = portableMode(h.Mode)
	return h, nil
}
