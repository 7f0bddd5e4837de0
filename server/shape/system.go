package shape

import (
	"strings"

	"github.com/moby/moby/api/types/build"
	ct "github.com/moby/moby/api/types/container"
	et "github.com/moby/moby/api/types/events"
	it "github.com/moby/moby/api/types/image"
	st "github.com/moby/moby/api/types/system"
	vt "github.com/moby/moby/api/types/volume"
)

// Usage is both shapes in one.
type Usage struct {
	LayersSize  *int64              `json:"LayersSize,omitempty"`
	Images      []ListedImage       `json:"Images,omitzero"`
	Containers  []ListedContainer   `json:"Containers,omitzero"`
	Volumes     []vt.Volume         `json:"Volumes,omitzero"`
	BuildCache  []build.CacheRecord `json:"BuildCache,omitzero"`
	BuilderSize *int64              `json:"BuilderSize,omitempty"`
	*st.DiskUsage
}

// DiskUsage gives what takes up space the shape that version v has for it; old asks for lists beside one another, verbose
// for the objects in the new shape.
func DiskUsage(v Version, found st.DiskUsage, old, verbose bool) Usage {
	answer := Usage{DiskUsage: &found}
	if images := found.ImageUsage; images != nil && old {
		answer.LayersSize = &images.TotalSize
		answer.Images = each(images.Items, func(i it.Summary) ListedImage { return ListImage(v, i) })
	}
	if containers := found.ContainerUsage; containers != nil && old {
		answer.Containers = each(containers.Items, func(s ct.Summary) ListedContainer { return ListContainer(v, s) })
	}
	if volumes := found.VolumeUsage; volumes != nil && old {
		answer.Volumes = List(volumes.Items)
	}
	if cache := found.BuildCacheUsage; cache != nil && old {
		answer.BuildCache = List(cache.Items)
		if v < 1042 {
			answer.BuilderSize = &cache.TotalSize
		}
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

// oldEvent repeats at the top what the newer fields say; it was there before API 1.52, and the docker command line
// up to 24 falls over without.
type oldEvent struct {
	Status string `json:"status,omitempty"`
	ID     string `json:"id,omitempty"`
	From   string `json:"from,omitempty"`
	et.Message
}

// Event gives an event the shape that version v has for it.
func Event(v Version, m et.Message) any {
	if v >= 1052 {
		return m
	}
	old := oldEvent{Message: m}
	switch m.Type {
	case et.ContainerEventType:
		old.Status, old.ID, old.From = string(m.Action), m.Actor.ID, m.Actor.Attributes["image"]
	case et.ImageEventType:
		old.Status, old.ID = string(m.Action), m.Actor.ID
	}
	return old
}

// Info gives the engine's description the shape that version v has for it.
func Info(v Version, found st.Info) (any, error) {
	extra := map[string]any{}
	if v < 1025 {
		found.SecurityOptions = securityNames(found.SecurityOptions)
	}
	if v < 1044 {
		runtimes := make(map[string]st.RuntimeWithStatus, len(found.Runtimes))
		for name, r := range found.Runtimes {
			runtimes[name] = st.RuntimeWithStatus{Runtime: r.Runtime}
		}
		found.Runtimes = runtimes
	}
	if v < 1046 {
		found.Containerd = nil
	}
	if v < 1047 {
		extra["RegistryConfig"] = map[string]any{
			"AllowNondistributableArtifactsCIDRs":     nil,
			"AllowNondistributableArtifactsHostnames": nil,
		}
	}
	if v < 1049 {
		found.FirewallBackend = nil
		extra["ContainerdCommit"] = map[string]any{"Expected": found.ContainerdCommit.ID}
		extra["RuncCommit"] = map[string]any{"Expected": found.RuncCommit.ID}
		extra["InitCommit"] = map[string]any{"Expected": found.InitCommit.ID}
	}
	if v < 1050 {
		found.DiscoveredDevices = nil
		extra["BridgeNfIptables"], extra["BridgeNfIp6tables"] = false, false
	}
	if v < 1053 {
		found.NRI = nil
	}
	return With(found, extra)
}

// securityNames cuts "name=seccomp,profile=builtin" down to "seccomp".
func securityNames(options []string) []string {
	var names []string
	for _, option := range options {
		for field := range strings.SplitSeq(option, ",") {
			if name, ok := strings.CutPrefix(field, "name="); ok {
				names = append(names, name)
			}
		}
	}
	return names
}
