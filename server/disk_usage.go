package server

import (
	"fmt"
	"net/http"
	"strconv"

	"github.com/moby/moby/api/types/build"
	ct "github.com/moby/moby/api/types/container"
	it "github.com/moby/moby/api/types/image"
	st "github.com/moby/moby/api/types/system"
	vt "github.com/moby/moby/api/types/volume"

	"github.com/cove-containers/cove/engine"
)

// diskUsage answers in the old shape, lists beside one another, in the new one, sums with optional lists, or for
// clients of API 1.52 that do not say, in both.
func (s *Server) diskUsage(c *call) error {
	o, buildCache, err := usageOf(c)
	if err != nil {
		return err
	}
	old := !c.since(53)
	if raw := c.query.get("verbose"); raw != "" && c.since(52) {
		if o.Verbose, err = strconv.ParseBool(raw); err != nil {
			return bad("invalid value for verbose: " + raw)
		}
		old = false
	}
	verbose := o.Verbose
	o.Verbose = o.Verbose || old
	found, err := s.System.DiskUsage(c.Context(), o)
	if err != nil {
		return err
	}
	if buildCache && found.BuildCacheUsage == nil {
		found.BuildCacheUsage = &build.DiskUsage{}
	}
	return c.json(http.StatusOK, shapeUsage(c.version, found, old, verbose))
}

// usageOf reads which kinds of object are asked for: all, unless some are named.
func usageOf(c *call) (o engine.DiskUsageOptions, buildCache bool, err error) {
	kinds := c.query["type"]
	if !c.since(42) || len(kinds) == 0 {
		return engine.DiskUsageOptions{Containers: true, Images: true, Volumes: true}, true, nil
	}
	for _, kind := range kinds {
		switch st.DiskUsageObject(kind) {
		case st.ContainerObject:
			o.Containers = true
		case st.ImageObject:
			o.Images = true
		case st.VolumeObject:
			o.Volumes = true
		case st.BuildCacheObject:
			buildCache = true
		default:
			return o, false, bad(fmt.Sprintf("unknown object type: %s", kind))
		}
	}
	return o, buildCache, nil
}

// usage is both shapes in one.
type usage struct {
	LayersSize  *int64              `json:"LayersSize,omitempty"`
	Images      []listedImage       `json:"Images,omitzero"`
	Containers  []listedContainer   `json:"Containers,omitzero"`
	Volumes     []vt.Volume         `json:"Volumes,omitzero"`
	BuildCache  []build.CacheRecord `json:"BuildCache,omitzero"`
	BuilderSize *int64              `json:"BuilderSize,omitempty"`
	*st.DiskUsage
}

func shapeUsage(v version, found st.DiskUsage, old, verbose bool) usage {
	answer := usage{DiskUsage: &found}
	if images := found.ImageUsage; images != nil && old {
		answer.LayersSize = &images.TotalSize
		answer.Images = each(images.Items, func(i it.Summary) listedImage { return listImage(v, i) })
	}
	if containers := found.ContainerUsage; containers != nil && old {
		answer.Containers = each(containers.Items, func(s ct.Summary) listedContainer { return listContainer(v, s) })
	}
	if volumes := found.VolumeUsage; volumes != nil && old {
		answer.Volumes = list(volumes.Items)
	}
	if cache := found.BuildCacheUsage; cache != nil && old {
		answer.BuildCache = list(cache.Items)
		answer.BuilderSize = &cache.TotalSize
	}
	if v < 1052 {
		answer.DiskUsage = nil
	} else if !verbose {
		dropItems(&found)
	}
	return answer
}

func dropItems(u *st.DiskUsage) {
	if u.ImageUsage != nil {
		u.ImageUsage.Items = nil
	}
	if u.ContainerUsage != nil {
		u.ContainerUsage.Items = nil
	}
	if u.VolumeUsage != nil {
		u.VolumeUsage.Items = nil
	}
	if u.BuildCacheUsage != nil {
		u.BuildCacheUsage.Items = nil
	}
}

func each[A, B any](all []A, shape func(A) B) []B {
	out := make([]B, len(all))
	for i, a := range all {
		out[i] = shape(a)
	}
	return out
}
