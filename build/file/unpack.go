package file

import (
	"archive/tar"
	"fmt"
	"os"

	"github.com/cove-containers/cove/archive"
	"github.com/cove-containers/cove/sys"
)

// unpack extracts a source that turns out to be an archive, whatever its name, into dest; done is false when it is none.
func (c *copier) unpack(from *os.File, src, dest string) (done bool, err error) {
	s, err := resolve(from, src, true)
	if err != nil {
		return false, err
	}
	defer s.close()
	st, err := s.stat()
	if err != nil || st.Kind() != sys.KindFile {
		return false, nil // whoever copies it says so
	}
	fd, err := sys.OpenFileAt(s.dir, s.rest[0])
	if err != nil {
		return false, err
	}
	f := fd.File(s.full())
	defer f.Close()
	if !isArchive(f) {
		return false, nil
	}
	d, err := resolve(c.root, dest, true)
	if err != nil {
		return false, err
	}
	defer d.close()
	m := c.making
	m.perm = 0o755
	made, err := d.mkdirs(0, m)
	if err != nil {
		return false, err
	}
	if err := c.extract(f, d.path); err != nil {
		return false, err
	}
	return true, m.touchAll(c.root, made)
}

func (c *copier) extract(f *os.File, into string) error {
	plain, err := archive.Decompress(f)
	if err != nil {
		return err
	}
	defer plain.Close()
	o := archive.Options{Into: into}
	if own := c.making.owner; own != nil {
		o.Owner = &archive.Owner{UID: own.uid, GID: own.gid}
	}
	if _, err := archive.Unpack(c.ctx, c.root, plain, o); err != nil {
		return fmt.Errorf("unpack: %w", err)
	}
	return nil
}

// isArchive looks whether a file, packed or not, begins like a tar archive, and leaves it at its beginning.
func isArchive(f *os.File) bool {
	defer f.Seek(0, 0)
	plain, err := archive.Decompress(f)
	if err != nil {
		return false
	}
	defer plain.Close()
	_, err = tar.NewReader(plain).Next()
	return err == nil
}
