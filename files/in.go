package files

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"syscall"

	"github.com/containerd/errdefs"
	et "github.com/moby/moby/api/types/events"

	"github.com/cove-containers/cove/archive"
	"github.com/cove-containers/cove/container"
	"github.com/cove-containers/cove/runtime"
	"github.com/cove-containers/cove/sys"
)

// InOptions tell how files are copied into a container.
type InOptions struct {
	// KeepTypes refuses to replace a directory by something else or the reverse.
	KeepTypes bool
	// AsUser gives everything to the container's user, if it has one, whatever the archive says.
	AsUser bool
}

// CopyIn unpacks a tar archive, which may be compressed, into a directory of a container.
func (f *Copier) CopyIn(ctx context.Context, ref, name string, r io.Reader, o InOptions, line Line) error {
	var filled *container.Container
	err := f.work(ctx, ref, true, line, func(ctx context.Context, v *view) error {
		into, err := v.destination(ref, name)
		if err != nil {
			return err
		}
		options := archive.Options{Into: into, KeepTypes: o.KeepTypes, Numbers: v.numbers.inward()}
		if o.AsUser && v.c.Config.User != "" {
			if options.Owner, err = v.owner(); err != nil {
				return err
			}
		}
		filled = v.c
		return unpack(ctx, v, r, options)
	})
	if err != nil {
		return copyError("copy into", filled, err)
	}
	f.event(filled, et.ActionExtractToDir)
	return nil
}

// destination finds the directory that is to be copied into, and refuses what nothing can be written to.
func (v *view) destination(ref, name string) (string, error) {
	found, err := sys.OpenPathInRoot(v.root, absolute(name), true)
	if err != nil {
		if sys.IsNotDir(err) {
			return "", errNoDirectory
		}
		return "", findError(ref, name, err)
	}
	defer found.Close()
	if info, err := found.Stat(); err != nil {
		return "", err
	} else if !info.IsDir() {
		return "", errNoDirectory
	}
	p, err := v.resolve(absolute(name))
	if err != nil {
		return "", err
	}
	m, err := v.mountAt(p)
	switch {
	case err != nil:
		return "", err
	case m != nil && !m.RW:
		return "", errdefs.ErrInvalidArgument.WithMessage("mounted volume is marked read-only")
	case m == nil && v.c.HostConfig.ReadonlyRootfs:
		return "", errdefs.ErrInvalidArgument.WithMessage("container rootfs is marked read-only")
	}
	return p, nil
}

var errNoDirectory = errdefs.ErrInvalidArgument.WithMessage("extraction point is not a directory")

// mountAt is the user's mount that a path without links lies in; nil when it lies in none.
func (v *view) mountAt(p string) (*container.Mount, error) {
	var found *container.Mount
	longest := -1
	for i := range v.c.Mounts {
		target, err := v.resolve(path.Clean(v.c.Mounts[i].Target))
		if err != nil {
			return nil, err
		}
		target = strings.TrimSuffix(target, "/")
		if len(target) > longest && (p == target || strings.HasPrefix(p, target+"/")) {
			found, longest = &v.c.Mounts[i], len(target)
		}
	}
	return found, nil
}

// owner looks up the container's user in its own files.
func (v *view) owner() (*archive.Owner, error) {
	u, _, err := runtime.LookupUser(v.root, v.c.Config.User, nil)
	if err != nil {
		return nil, fmt.Errorf("look up the user of container %s: %w", v.c.Name, err)
	}
	return &archive.Owner{UID: int(u.UID), GID: int(u.GID)}, nil
}

// unpack reads the archive to its end, and what is padded after it.
func unpack(ctx context.Context, v *view, r io.Reader, o archive.Options) error {
	counted := io.TeeReader(r, counter{v})
	plain, err := archive.Decompress(counted)
	if err != nil {
		return err
	}
	defer plain.Close()
	_, err = archive.Unpack(ctx, v.root, plain, o)
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return errdefs.ErrInvalidArgument.WithMessage("the archive ends too soon: " + err.Error())
	case errors.Is(err, syscall.EROFS):
		return fmt.Errorf("%w: %w", errdefs.ErrFailedPrecondition.WithMessage("not everything there can be written"), err)
	case sys.IsMountPoint(err):
		return fmt.Errorf("%w: %w", errdefs.ErrConflict.WithMessage("something is mounted there"), err)
	case err != nil:
		return err
	}
	_, err = io.Copy(io.Discard, counted)
	return err
}

// counter counts what comes from the client.
type counter struct{ v *view }

func (c counter) Write(p []byte) (int, error) {
	c.v.moved.Add(int64(len(p)))
	return len(p), nil
}
