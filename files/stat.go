package files

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"

	"github.com/containerd/errdefs"
	ct "github.com/moby/moby/api/types/container"

	"github.com/cove-containers/cove/sys"
)

// Stat tells what is at a path in a container. A link is described itself, with the path that it leads to in the end.
func (f *Copier) Stat(ctx context.Context, ref, name string) (st ct.PathStat, err error) {
	err = f.work(ctx, ref, false, Line{}, func(_ context.Context, v *view) error {
		found, described, err := v.find(ref, name)
		if err == nil {
			st = described
			found.Close()
		}
		return err
	})
	return st, err
}

// find finds what is at a path, and describes it.
func (v *view) find(ref, name string) (*os.File, ct.PathStat, error) {
	p := absolute(name)
	found, err := sys.OpenPathInRoot(v.root, p, false)
	if err != nil {
		return nil, ct.PathStat{}, findError(ref, name, err)
	}
	st, err := v.describe(found, p)
	if err != nil {
		found.Close()
		return nil, ct.PathStat{}, err
	}
	return found, st, nil
}

func (v *view) describe(found *os.File, p string) (ct.PathStat, error) {
	info, err := found.Stat()
	if err != nil {
		return ct.PathStat{}, err
	}
	st := ct.PathStat{Name: path.Base(p), Size: info.Size(), Mode: info.Mode(), Mtime: info.ModTime()}
	if info.Mode()&fs.ModeSymlink != 0 {
		st.LinkTarget, err = v.resolve(p)
	}
	return st, err
}

// findError gives the failure to find a path its kind, and the words that clients look for.
func findError(ref, name string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return errdefs.ErrNotFound.WithMessage("Could not find the file " + name + " in container " + ref)
	case sys.IsBadName(err):
		return errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("cannot look at %s in container %s: %v", name, ref, inner(err)))
	}
	return fmt.Errorf("cannot look at %s in container %s: %w", name, ref, err)
}

// inner is the kernel's word for what went wrong, without the name it was told.
func inner(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}
