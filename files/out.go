package files

import (
	"context"
	"fmt"
	"io"
	"path"

	ct "github.com/moby/moby/api/types/container"
	et "github.com/moby/moby/api/types/events"

	"github.com/cove-containers/cove/archive"
	"github.com/cove-containers/cove/container"
	"github.com/cove-containers/cove/sys"
)

// CopyOut writes what is at a path in a container as a tar archive: a file or link under its name, a directory under
// its name with all it contains. begin is told what it is, and gives what to write to; nothing fails without a word before.
func (f *Copier) CopyOut(ctx context.Context, ref, name string, begin func(ct.PathStat) io.Writer, line Line) error {
	var copied *container.Container
	err := f.work(ctx, ref, false, line, func(ctx context.Context, v *view) error {
		found, st, err := v.find(ref, name)
		if err != nil {
			return err
		}
		defer found.Close()
		copied = v.c
		if st.Mode.IsDir() {
			return archive.Pack(ctx, begin(st), found, archive.PackOptions{Base: st.Name, Numbers: v.numbers.outward()})
		}
		p := absolute(name)
		parent, err := sys.OpenPathInRoot(v.root, path.Dir(p), true)
		if err != nil {
			return findError(ref, name, err)
		}
		defer parent.Close()
		return archive.Pack(ctx, begin(st), parent, archive.PackOptions{Numbers: v.numbers.outward()}, path.Base(p))
	})
	if err != nil {
		return copyError("copy from", copied, err)
	}
	f.event(copied, et.ActionArchivePath)
	return nil
}

// copyError says what was being done when it failed; before it began, the failure speaks for itself.
func copyError(deed string, c *container.Container, err error) error {
	if c == nil {
		return err
	}
	return fmt.Errorf("%s container %s: %w", deed, c.Name, err)
}

// Export writes a container's whole file system as a tar archive, without what is mounted on it. begin is called when
// nothing stands in the way any more.
func (f *Copier) Export(ctx context.Context, ref string, begin func() io.Writer, line Line) error {
	var exported *container.Container
	err := f.work(ctx, ref, false, line, func(ctx context.Context, v *view) error {
		exported = v.c
		bare, err := sys.CopyMount(sys.Borrow(v.root), "", false)
		if err != nil {
			return err
		}
		defer bare.Close()
		return archive.Pack(ctx, begin(), bare, archive.PackOptions{Numbers: v.numbers.outward()})
	})
	if err != nil {
		return copyError("export", exported, err)
	}
	f.event(exported, et.ActionExport)
	return nil
}
