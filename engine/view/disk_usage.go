package view

import (
	"context"

	"github.com/moby/moby/api/types/build"
	ct "github.com/moby/moby/api/types/container"
	it "github.com/moby/moby/api/types/image"
	st "github.com/moby/moby/api/types/system"
	vt "github.com/moby/moby/api/types/volume"

	"github.com/cove-containers/cove/image"
)

// DiskUsage tells what the kinds of object asked for take on disk, and how much of it nobody uses.
func (v *View) DiskUsage(ctx context.Context, o DiskUsageOptions) (st.DiskUsage, error) {
	var u st.DiskUsage
	var err error
	if o.Containers {
		if u.ContainerUsage, err = v.containerUsage(ctx, o.Verbose); err != nil {
			return st.DiskUsage{}, err
		}
	}
	if o.Images {
		if u.ImageUsage, err = v.imageUsage(ctx, o.Verbose); err != nil {
			return st.DiskUsage{}, err
		}
	}
	if o.Volumes {
		if u.VolumeUsage, err = v.volumeUsage(ctx, o.Verbose); err != nil {
			return st.DiskUsage{}, err
		}
	}
	u.BuildCacheUsage = &build.DiskUsage{}
	return u, nil
}

func (v *View) containerUsage(ctx context.Context, items bool) (*ct.DiskUsage, error) {
	all, err := v.ContainerList(ctx, ListOptions{All: true, Size: true})
	if err != nil {
		return nil, err
	}
	u := &ct.DiskUsage{TotalCount: int64(len(all))}
	for _, c := range all {
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

func (v *View) imageUsage(ctx context.Context, items bool) (*it.DiskUsage, error) {
	all, err := v.parts.Images.List(ctx, image.ListOptions{All: true, SharedSize: true})
	if err != nil {
		return nil, err
	}
	total, err := v.parts.Images.Usage(ctx)
	if err != nil {
		return nil, err
	}
	u := &it.DiskUsage{TotalCount: int64(len(all)), TotalSize: total}
	used := int64(0)
	counts := map[string]int64{}
	for _, c := range v.parts.Containers.List() {
		counts[c.Image.String()]++
	}
	for i := range all {
		all[i].Containers = counts[all[i].ID]
		if all[i].Containers > 0 {
			u.ActiveCount++
			used += all[i].Size
		}
	}
	u.Reclaimable = max(0, total-used)
	if items {
		u.Items = all
	}
	return u, nil
}

func (v *View) volumeUsage(ctx context.Context, items bool) (*vt.DiskUsage, error) {
	all, err := v.parts.Volumes.List(nil)
	if err != nil {
		return nil, err
	}
	u := &vt.DiskUsage{TotalCount: int64(len(all))}
	for i := range all {
		// One removed meanwhile takes nothing.
		size, _ := v.parts.Volumes.Usage(ctx, all[i].Name)
		users := int64(len(v.parts.Volumes.Users(all[i].Name)))
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
