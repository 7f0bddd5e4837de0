package rootfs

import (
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/cove-containers/cove/sys"
)

// mapOverlay has the layers of the root show their files as the container's users'. What overlayfs itself makes in the writable
// one has to be made as the container's root: nobody else is mapped to anybody there.
func (r *Root) mapOverlay(o *Overlay) error {
	dirs := slices.Clone(o.Lower)
	if o.Upper != "" {
		// Both have to lie in the same mount.
		above := path.Dir(o.Upper)
		if path.Dir(o.Work) != above {
			return fmt.Errorf("mapped layers %s and %s lie in different directories: %w", o.Upper, o.Work, errdefs.ErrInvalidArgument)
		}
		dirs = append(dirs, above)
	}
	if err := r.mapLayers(dirs); err != nil {
		return err
	}
	return r.actAsOwner()
}

// mapLayers puts over each directory a mount of it that shows its files as the container's users', in this mount namespace
// alone, where overlayfs finds it by the same name. Kernels before 6.15 stack nothing that is mounted nowhere.
func (r *Root) mapLayers(dirs []string) error {
	users, err := r.settings.IDMap(nil, nil)
	if err != nil {
		return err
	}
	defer users.Close()
	trees := map[string]*os.File{}
	defer func() {
		for _, tree := range trees {
			tree.Close()
		}
	}()
	var fresh []string
	for _, dir := range dirs {
		if r.mapped[dir] || trees[dir] != nil {
			continue
		}
		tree, err := sys.CopyMount(sys.WorkingDir, dir, false)
		if err != nil {
			return fmt.Errorf("layer %s: %w", dir, err)
		}
		trees[dir], fresh = tree, append(fresh, dir)
		if err := mapUsers(tree, users, false); err != nil {
			return fmt.Errorf("layer %s: %w", dir, err)
		}
	}
	// One that lies in another is covered by that, and has to go onto it.
	slices.SortStableFunc(fresh, func(a, b string) int { return strings.Count(a, "/") - strings.Count(b, "/") })
	for _, dir := range fresh {
		if err := unix.MoveMount(int(trees[dir].Fd()), "", unix.AT_FDCWD, dir, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
			return fmt.Errorf("mount mapped layer %s: %w", dir, err)
		}
		if r.mapped == nil {
			r.mapped = map[string]bool{}
		}
		r.mapped[dir] = true
	}
	return nil
}

// mapUsers is sys.MapMount with what its failure means.
func mapUsers(m, users *os.File, recursive bool) error {
	err := sys.MapMount(m, users, recursive)
	if errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("map users and groups: this kernel cannot do it for the file system below (%w)", err)
	}
	if err != nil {
		return fmt.Errorf("map users and groups: %w", err)
	}
	return nil
}
