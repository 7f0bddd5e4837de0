package sys

import (
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// Mapping has layers, which lie on the disk with the numbers that users have in a user namespace, show their files as those
// users'. A nil one changes nothing.
type Mapping struct {
	// Users is the user namespace. What is mapped does not need it any more.
	Users *os.File
	// UID and GID are what its root is outside.
	UID, GID uint32
}

// String is the same for mappings of which one does for the other, as long as root's numbers tell them apart; empty for a nil one.
func (m *Mapping) String() string {
	if m == nil {
		return ""
	}
	return fmt.Sprintf("mapped to %d:%d ", m.UID, m.GID)
}

// CopyMount gives a detached copy of the mount that a directory shows, from there downwards.
func (m *Mapping) CopyMount(dir string) (*os.File, error) {
	tree, err := CopyMount(WorkingDir, dir, false)
	if err != nil || m == nil {
		return tree, err
	}
	if err := MapMount(tree, m.Users, false); err != nil {
		tree.Close()
		return nil, err
	}
	return tree, nil
}

// MountOverlay is the function of that name for mapped layers. What overlayfs itself makes in upper belongs to the namespace's
// root: nobody else is mapped to anybody there.
func (m *Mapping) MountOverlay(lower []string, upper, work string, flags ...string) (made *os.File, err error) {
	if m == nil {
		return MountOverlay(lower, upper, work, flags...)
	}
	dirs, err := OverlayDirs(lower, upper, work)
	if err != nil {
		return nil, err
	}
	err = WithPrivateMount(nil, "", func() error {
		if err := MapDirs(dirs, m.Users); err != nil {
			return err
		}
		if err := ActAs(m.UID, m.GID); err != nil {
			return fmt.Errorf("act as the root of the user namespace: %w", err)
		}
		made, err = MountOverlay(lower, upper, work, flags...)
		return err
	})
	return made, err
}

// OverlayDirs are the directories to map, each by a mount of its own, for an overlay of mapped layers.
func OverlayDirs(lower []string, upper, work string) ([]string, error) {
	dirs := slices.Clone(lower)
	if upper == "" {
		return dirs, nil
	}
	// Both have to lie in the same mount.
	above := path.Dir(upper)
	if path.Dir(work) != above {
		return nil, fmt.Errorf("mapped layers %s and %s lie in different directories: %w", upper, work, errdefs.ErrInvalidArgument)
	}
	return append(dirs, above), nil
}

// MapDirs puts over each directory a mount of it that shows its files as belonging to others, by the mappings of a user
// namespace, where overlayfs finds it by the same name. The calling thread's mount namespace must be one that nobody else sees.
// Kernels before 6.15 stack nothing that is mounted nowhere.
func MapDirs(dirs []string, users *os.File) error {
	trees := map[string]*os.File{}
	defer func() {
		for _, tree := range trees {
			tree.Close()
		}
	}()
	var all []string
	for _, dir := range dirs {
		if trees[dir] != nil {
			continue
		}
		tree, err := CopyMount(WorkingDir, dir, false)
		if err != nil {
			return fmt.Errorf("layer %s: %w", dir, err)
		}
		trees[dir], all = tree, append(all, dir)
		if err := MapMount(tree, users, false); err != nil {
			return fmt.Errorf("layer %s: %w", dir, err)
		}
	}
	// One that lies in another is covered by that, and has to go onto it.
	slices.SortStableFunc(all, func(a, b string) int { return strings.Count(a, "/") - strings.Count(b, "/") })
	for _, dir := range all {
		if err := unix.MoveMount(int(trees[dir].Fd()), "", unix.AT_FDCWD, dir, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
			return fmt.Errorf("mount mapped layer %s: %w", dir, err)
		}
	}
	return nil
}
