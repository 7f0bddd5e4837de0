package client

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/build"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/system"
	"github.com/moby/moby/api/types/volume"
)

// decodeAll calls emit for every JSON value of r. The end of ctx is reported as its cause, not as a broken read.
func decodeAll[T any](ctx context.Context, r io.Reader, emit func(T) error) error {
	decoder := json.NewDecoder(r)
	for {
		var v T
		if err := decoder.Decode(&v); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return err
		}
		if err := emit(v); err != nil {
			return err
		}
	}
}

// older tells whether API version a comes before b.
func older(a, b string) bool {
	aMajor, aMinor, _ := strings.Cut(a, ".")
	bMajor, bMinor, _ := strings.Cut(b, ".")
	if aMajor != bMajor {
		return atoi(aMajor) < atoi(bMajor)
	}
	return atoi(aMinor) < atoi(bMinor)
}

func atoi(s string) int {
	n, _ := strconv.Atoi(s)
	return n
}

// oldDiskUsage reads the answer of daemons before API 1.52, which list the items side by side.
func oldDiskUsage(raw []byte) (du system.DiskUsage, err error) {
	var old struct {
		LayersSize int64
		Images     []image.Summary
		Containers []container.Summary
		Volumes    []volume.Volume
		BuildCache []build.CacheRecord
	}
	if err := json.Unmarshal(raw, &old); err != nil {
		return du, err
	}
	du.ImageUsage = &image.DiskUsage{Items: old.Images, TotalCount: int64(len(old.Images)), TotalSize: old.LayersSize}
	var used int64
	for _, i := range old.Images {
		if i.Containers > 0 {
			du.ImageUsage.ActiveCount++
			if i.Size != -1 && i.SharedSize != -1 {
				used += i.Size - i.SharedSize
			}
		}
	}
	du.ImageUsage.Reclaimable = old.LayersSize - used
	du.ContainerUsage = &container.DiskUsage{Items: old.Containers, TotalCount: int64(len(old.Containers))}
	for _, ctr := range old.Containers {
		du.ContainerUsage.TotalSize += ctr.SizeRw
		switch ctr.State {
		case container.StateRunning, container.StatePaused, container.StateRestarting:
			du.ContainerUsage.ActiveCount++
		default:
			du.ContainerUsage.Reclaimable += ctr.SizeRw
		}
	}
	du.VolumeUsage = &volume.DiskUsage{Items: old.Volumes, TotalCount: int64(len(old.Volumes))}
	for _, v := range old.Volumes {
		if v.UsageData == nil || v.UsageData.Size < 0 {
			continue
		}
		du.VolumeUsage.TotalSize += v.UsageData.Size
		if v.UsageData.RefCount > 0 {
			du.VolumeUsage.ActiveCount++
		} else {
			du.VolumeUsage.Reclaimable += v.UsageData.Size
		}
	}
	du.BuildCacheUsage = &build.DiskUsage{Items: old.BuildCache, TotalCount: int64(len(old.BuildCache))}
	for _, b := range old.BuildCache {
		if !b.Shared {
			du.BuildCacheUsage.TotalSize += b.Size
		}
		if b.InUse {
			du.BuildCacheUsage.ActiveCount++
		} else if !b.Shared {
			du.BuildCacheUsage.Reclaimable += b.Size
		}
	}
	return du, nil
}
