package system

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/containerd/errdefs"
	ct "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"

	"github.com/cove-containers/cove/api"
	"github.com/cove-containers/cove/container"
)

// nobodys tells that no container has this ID, nor is one with it being made.
func (s *System) nobodys(id string) bool {
	_, err := s.parts.Containers.Get(id)
	return err != nil && !s.parts.Containers.Making(id)
}

// containers compares records with folders and writable layers.
func (s *System) containers(context.Context) (api.Findings, error) {
	var found api.Findings
	writable := s.parts.Layers.Writable()
	for _, c := range s.parts.Containers.List() {
		found.Count("containers", 1)
		switch c.State.Status {
		case ct.StateRemoving: // somebody is at it; what a crash leaves of it is removed when the engine starts
			continue
		case ct.StateDead:
			found.Add(s.halfRemoved(c.ID))
			continue
		}
		if !slices.Contains(writable, c.ID) {
			found.Add(s.withoutLayer(c))
		}
		if _, err := os.Stat(s.containerFolder(c.ID)); errors.Is(err, fs.ErrNotExist) {
			found.Add(s.withoutFolder(c.ID))
		}
	}
	for _, id := range writable {
		if s.nobodys(id) {
			found.Add(api.Fault{
				Kind: "container", Name: id, Problem: "a writable layer without a container", Remedy: "removed",
				Persists: func() bool {
					return s.nobodys(id) && slices.Contains(s.parts.Layers.Writable(), id)
				},
				Mend: s.ifNobodys(id, func(ctx context.Context) error { return s.parts.Layers.Delete(ctx, id) }),
			})
		}
	}
	folders, err := os.ReadDir(filepath.Join(s.parts.Root, "containers"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return found, err
	}
	for _, f := range folders {
		if id := f.Name(); s.nobodys(id) {
			path := s.containerFolder(id)
			found.Add(api.Fault{
				Kind: "container", Name: path, Problem: "no container has this folder", Remedy: "removed",
				Persists: func() bool { _, err := os.Lstat(path); return err == nil && s.nobodys(id) },
				Mend:     s.ifNobodys(id, func(context.Context) error { return os.RemoveAll(path) }),
			})
		}
	}
	return found, nil
}

func (s *System) ifNobodys(id string, do func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		if !s.nobodys(id) {
			return nil
		}
		return do(ctx)
	}
}

func (s *System) halfRemoved(id string) api.Fault {
	return api.Fault{
		Kind: "container", Name: id, Problem: "its removal was broken off", Remedy: "removed",
		Persists: func() bool {
			c, err := s.parts.Containers.Get(id)
			return err == nil && c.State.Status == ct.StateDead
		},
		Mend: func(ctx context.Context) error { return gone(s.parts.Remove(ctx, id)) },
	}
}

// withoutLayer is the fault of a container whose own files are gone. There is nothing left that could be started.
func (s *System) withoutLayer(c *container.Container) api.Fault {
	fault := api.Fault{
		Kind: "container", Name: c.ID, Problem: fmt.Sprintf("container %s has lost its writable layer", c.Name),
		Persists: func() bool {
			now, err := s.parts.Containers.Get(c.ID)
			return err == nil && now.State.Status != ct.StateRemoving && !slices.Contains(s.parts.Layers.Writable(), c.ID)
		},
	}
	if c.State.Busy() {
		fault.Advice = "stop it, and it can be removed"
		return fault
	}
	fault.Remedy = "removed"
	fault.Mend = func(ctx context.Context) error { return gone(s.parts.Remove(ctx, c.ID)) }
	return fault
}

func (s *System) withoutFolder(id string) api.Fault {
	return api.Fault{
		Kind: "container", Name: s.containerFolder(id), Problem: "the container's folder is missing", Remedy: "made anew",
		Persists: func() bool {
			_, err := os.Stat(s.containerFolder(id))
			return errors.Is(err, fs.ErrNotExist) && !s.nobodys(id)
		},
		Mend: func(ctx context.Context) error {
			release, err := s.parts.Containers.Lock(ctx, id)
			if err != nil {
				return gone(err)
			}
			defer release()
			return os.MkdirAll(s.containerFolder(id), 0o710)
		},
	}
}

// gone lets pass that a container is not there any more.
func gone(err error) error {
	if errdefs.IsNotFound(err) {
		return nil
	}
	return err
}

// references looks whether what containers refer to is there, and whether volumes know who uses them.
func (s *System) references(ctx context.Context) (api.Findings, error) {
	var found api.Findings
	for _, c := range s.parts.Containers.List() {
		there := func() bool { _, err := s.parts.Containers.Get(c.ID); return err == nil }
		if _, err := s.parts.Images.Get(ctx, c.Image.String(), nil); errdefs.IsNotFound(err) {
			found.Add(api.Fault{
				Kind: "container", Name: c.ID, Problem: fmt.Sprintf("the image %s of container %s is gone", c.Image, c.Name), Advice: "pull or load it again",
				Persists: func() bool {
					_, err := s.parts.Images.Get(ctx, c.Image.String(), nil)
					return there() && errdefs.IsNotFound(err)
				},
			})
		}
		if _, err := s.parts.Layers.Stack(ctx, c.DiffIDs); err != nil {
			found.Add(s.withoutImageLayers(ctx, c, there))
		}
		for _, name := range volumesOf(c) {
			s.checkUse(&found, c, name)
		}
	}
	return found, s.checkUsers(&found)
}

// withoutImageLayers is the fault of a container whose image is not unpacked any more; unpacking it again is enough.
func (s *System) withoutImageLayers(ctx context.Context, c *container.Container, there func() bool) api.Fault {
	return api.Fault{
		Kind: "container", Name: c.ID, Problem: fmt.Sprintf("layers of the image of container %s are not unpacked", c.Name), Remedy: "unpacked again",
		Persists: func() bool {
			_, err := s.parts.Layers.Stack(ctx, c.DiffIDs)
			return err != nil && there()
		},
		Mend: func(ctx context.Context) error {
			platform := c.Platform
			img, err := s.parts.Images.Get(ctx, c.Image.String(), &platform)
			if err != nil {
				return err
			}
			return s.parts.Images.Unpacked(ctx, img)
		},
	}
}

func volumesOf(c *container.Container) []string {
	var names []string
	for _, m := range c.Mounts {
		if m.Type == mount.TypeVolume {
			names = append(names, m.Name)
		}
	}
	return names
}

// checkUse looks whether a container's volume is there and counts it as its user.
func (s *System) checkUse(found *api.Findings, c *container.Container, name string) {
	uncounted := func() bool {
		now, err := s.parts.Containers.Get(c.ID)
		return err == nil && slices.Contains(volumesOf(now), name) && !slices.Contains(s.parts.Volumes.Users(name), c.ID)
	}
	if !uncounted() {
		return
	}
	fault := api.Fault{Kind: "volume", Name: name, Persists: uncounted}
	if _, err := s.parts.Volumes.Get(name); err != nil {
		fault.Problem = fmt.Sprintf("the volume of container %s is gone", c.Name)
		fault.Advice = "create a volume of this name, or remove the container"
	} else {
		fault.Problem, fault.Remedy = fmt.Sprintf("container %s does not count as its user", c.Name), "counted"
		fault.Mend = func(context.Context) error { return s.parts.Volumes.Use(name, c.ID) }
	}
	found.Add(fault)
}

// checkUsers looks for volumes that are kept for containers that are gone.
func (s *System) checkUsers(found *api.Findings) error {
	volumes, err := s.parts.Volumes.List(nil)
	if err != nil {
		return err
	}
	for _, v := range volumes {
		for _, id := range s.parts.Volumes.Users(v.Name) {
			stale := func() bool {
				if !slices.Contains(s.parts.Volumes.Users(v.Name), id) || s.parts.Containers.Making(id) {
					return false
				}
				c, err := s.parts.Containers.Get(id)
				return err != nil || !slices.Contains(volumesOf(c), v.Name)
			}
			if stale() {
				found.Add(api.Fault{
					Kind: "volume", Name: v.Name, Problem: "it is kept for container " + id + ", which does not use it", Remedy: "released", Persists: stale,
					Mend: func(context.Context) error {
						if stale() {
							s.parts.Volumes.Release(v.Name, id)
						}
						return nil
					},
				})
			}
		}
	}
	return nil
}
