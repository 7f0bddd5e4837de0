package system

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/cove-containers/cove/api"
	"github.com/cove-containers/cove/runtime"
	"github.com/cove-containers/cove/sys"
)

// host compares the containers that run with the supervisors, cgroups and mounts that are there.
func (s *System) host(ctx context.Context) (api.Findings, error) {
	var found api.Findings
	if err := s.checkSupervisors(&found); err != nil {
		return found, err
	}
	s.checkCgroups(&found)
	return found, s.checkMounts(&found)
}

// alive tells whether a container's processes should be there.
func (s *System) alive(id string) bool {
	c, err := s.parts.Containers.Get(id)
	return err == nil && c.State.Alive()
}

func (s *System) checkSupervisors(found *api.Findings) error {
	there, err := s.parts.Shims.Leftovers()
	if err != nil {
		return err
	}
	found.Count("supervisors", len(there))
	for _, id := range there {
		if !s.nobodys(id) {
			continue
		}
		found.Add(api.Fault{
			Kind: "supervisor", Name: id, Problem: "it supervises no container that is known", Remedy: "ended and removed",
			Persists: func() bool {
				there, err := s.parts.Shims.Leftovers()
				return err == nil && slices.Contains(there, id) && s.nobodys(id)
			},
			Mend: s.ifNobodys(id, func(ctx context.Context) error {
				sup, err := s.parts.Shims.Reconnect(ctx, id)
				if errdefs.IsNotFound(err) {
					return nil
				}
				if err != nil {
					return err
				}
				return sup.Delete(ctx)
			}),
		})
	}
	for _, c := range s.parts.Containers.List() {
		if !c.State.Alive() || slices.Contains(there, c.ID) {
			continue
		}
		found.Add(api.Fault{
			Kind: "supervisor", Name: c.ID, Problem: fmt.Sprintf("container %s runs without one", c.Name), Advice: "kill and start the container",
			Persists: func() bool {
				there, err := s.parts.Shims.Leftovers()
				return err == nil && s.alive(c.ID) && !slices.Contains(there, c.ID)
			},
		})
	}
	return nil
}

// checkCgroups looks for groups below the engine's that belong to no running container. Groups that systemd keeps are its
// own business.
func (s *System) checkCgroups(found *api.Findings) {
	parent := s.parts.CgroupParent
	if parent == "" || parent == "/" || strings.HasSuffix(parent, ".slice") {
		return
	}
	group, err := runtime.OpenCgroup(parent)
	if err != nil {
		return // there is none, so there is nothing in it
	}
	seen := map[string]bool{}
	for _, h := range group.Hierarchies() {
		entries, _ := os.ReadDir(h.Path)
		for _, e := range entries {
			if e.IsDir() && len(e.Name()) == idLength && !seen[e.Name()] {
				seen[e.Name()] = true
				s.checkCgroup(found, path.Join("/", parent, e.Name()), e.Name())
			}
		}
	}
	found.Count("cgroups", len(seen))
}

// idLength is the length of a container's ID: groups with other names are not containers'.
const idLength = 64

func (s *System) checkCgroup(found *api.Findings, group, id string) {
	stray := func() bool {
		there, err := s.parts.Shims.Leftovers()
		if err != nil || s.alive(id) || slices.Contains(there, id) || s.parts.Containers.Making(id) {
			return false
		}
		return len(foldersOf(s.parts.CgroupParent, id)) > 0
	}
	if !stray() {
		return
	}
	found.Add(api.Fault{
		Kind: "cgroup", Name: group, Problem: "no running container has it", Remedy: "its processes killed, and removed", Persists: stray,
		Mend: func(ctx context.Context) error {
			var err error
			release := func() {}
			if !s.nobodys(id) {
				if release, err = s.parts.Containers.Lock(ctx, id); err != nil {
					return gone(err) // the next look sees to it
				}
			}
			defer release()
			if !stray() {
				return nil
			}
			if g, err := runtime.OpenCgroup(group); err == nil {
				return errors.Join(g.KillAll(), g.Remove())
			}
			// It is not whole: in the hierarchy that lists processes it is gone.
			for _, folder := range foldersOf(s.parts.CgroupParent, id) {
				err = errors.Join(err, os.Remove(folder))
			}
			return err
		},
	})
}

// foldersOf are the folders of the group called id in all hierarchies.
func foldersOf(parent, id string) []string {
	group, err := runtime.OpenCgroup(parent)
	if err != nil {
		return nil
	}
	var all []string
	for _, h := range group.Hierarchies() {
		folder := filepath.Join(h.Path, id)
		if _, err := os.Stat(folder); err == nil {
			all = append(all, folder)
		}
	}
	return all
}

// checkMounts looks for mounts over the engine's own files: it makes none where the host sees them.
func (s *System) checkMounts(found *api.Findings) error {
	mounts, err := sys.MountsOf("self")
	if err != nil {
		return fmt.Errorf("read mounts: %w", err)
	}
	for _, m := range mounts {
		for _, own := range []string{"layers", "containers", "blobs", "ingest"} {
			if strings.HasPrefix(m.Point, filepath.Join(s.parts.Root, own)+"/") {
				found.Add(api.Fault{Kind: "mount", Name: m.Point, Problem: "something is mounted over the engine's files", Advice: "unmount it"})
			}
		}
	}
	return nil
}
