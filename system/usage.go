package system

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/build"
	ct "github.com/moby/moby/api/types/container"
	it "github.com/moby/moby/api/types/image"
	st "github.com/moby/moby/api/types/system"
	vt "github.com/moby/moby/api/types/volume"

	"github.com/cove-containers/cove/api"
	"github.com/cove-containers/cove/container"
	"github.com/cove-containers/cove/image"
)

// DiskUsage tells what the kinds of object asked for take on disk, and how much of it nobody uses. Everything is counted
// as du counts it, so that the sums are what the disk has less: of an image its blobs, what was fetched of those that are
// not whole, and the unpacked layers, each once; of a container its own files, its log and what its record needs.
func (s *System) DiskUsage(ctx context.Context, o api.UsageOptions) (st.DiskUsage, error) {
	u := st.DiskUsage{BuildCacheUsage: &build.DiskUsage{}}
	var err error
	if o.Containers {
		if u.ContainerUsage, err = s.containerUsage(ctx, o.Verbose); err != nil {
			return st.DiskUsage{}, fmt.Errorf("measure containers: %w", err)
		}
	}
	if o.Images {
		if u.ImageUsage, err = s.imageUsage(ctx, o.Verbose); err != nil {
			return st.DiskUsage{}, fmt.Errorf("measure images: %w", err)
		}
	}
	if o.Volumes {
		if u.VolumeUsage, err = s.volumeUsage(ctx, o.Verbose); err != nil {
			return st.DiskUsage{}, fmt.Errorf("measure volumes: %w", err)
		}
	}
	return u, nil
}

func (s *System) containerUsage(ctx context.Context, items bool) (*ct.DiskUsage, error) {
	all, err := s.parts.List(ctx)
	if err != nil {
		return nil, err
	}
	u := &ct.DiskUsage{TotalCount: int64(len(all))}
	for i := range all {
		c := &all[i]
		record, err := s.parts.Containers.Get(c.ID)
		if err != nil {
			continue // removed meanwhile
		}
		if c.SizeRw, err = s.weigh(ctx, record); err != nil {
			return nil, err
		}
		c.SizeRootFs = c.SizeRw
		for _, d := range record.DiffIDs {
			c.SizeRootFs += s.parts.Layers.Size(d)
		}
		u.TotalSize += c.SizeRw
		switch c.State {
		case ct.StateRunning, ct.StatePaused, ct.StateRestarting:
			u.ActiveCount++
		default:
			u.Reclaimable += c.SizeRw
		}
	}
	if items {
		u.Items = all
	}
	return u, nil
}

// weigh is what a container takes on disk. One removed meanwhile takes nothing.
func (s *System) weigh(ctx context.Context, c *container.Container) (int64, error) {
	own, err := s.parts.Layers.Weight(ctx, c.ID)
	if err != nil && !errdefs.IsNotFound(err) && !errors.Is(err, fs.ErrNotExist) {
		return 0, err
	}
	files, err := c.Space(ctx, s.parts.Root)
	return own + files, err
}

func (s *System) imageUsage(ctx context.Context, items bool) (*it.DiskUsage, error) {
	all, err := s.parts.Images.List(ctx, image.ListOptions{All: true, SharedSize: true})
	if err != nil {
		return nil, err
	}
	measured, err := s.parts.Images.Usage(ctx)
	if err != nil {
		return nil, err
	}
	u := &it.DiskUsage{TotalCount: int64(len(all)), TotalSize: measured.Total, Reclaimable: measured.Reclaimable}
	for _, img := range all {
		if img.Containers > 0 {
			u.ActiveCount++
		}
	}
	if items {
		u.Items = all
	}
	return u, nil
}

func (s *System) volumeUsage(ctx context.Context, items bool) (*vt.DiskUsage, error) {
	all, err := s.parts.Volumes.List(nil)
	if err != nil {
		return nil, err
	}
	u := &vt.DiskUsage{TotalCount: int64(len(all))}
	for i := range all {
		// One removed meanwhile takes nothing.
		size, _ := s.parts.Volumes.Usage(ctx, all[i].Name)
		users := int64(len(s.parts.Volumes.Users(all[i].Name)))
		all[i].UsageData = &vt.UsageData{Size: size, RefCount: users}
		u.TotalSize += size
		if users > 0 {
			u.ActiveCount++
		} else {
			u.Reclaimable += size
		}
	}
	if items {
		u.Items = all
	}
	return u, nil
}
