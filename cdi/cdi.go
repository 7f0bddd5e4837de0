// Package cdi gives containers devices that vendors describe in files of the Container Device Interface
// (https://github.com/cncf-tags/container-device-interface): device nodes, mounts, environment and hooks.
package cdi

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	ct "github.com/moby/moby/api/types/container"
	"github.com/opencontainers/runtime-spec/specs-go"
	"tags.cncf.io/container-device-interface/pkg/cdi"
)

// Driver is the name under which clients ask for devices by their CDI names.
const Driver = "cdi"

// gpus are the kinds of device that a request for GPUs may mean, the first of which there are any.
var gpus = []string{"nvidia.com/gpu", "amd.com/gpu", "intel.com/gpu"}

// Devices reads descriptions anew at each use. It is safe for concurrent use.
type Devices struct{ dirs []string }

// New looks for descriptions in dirs, of which the later ones win.
func New(dirs []string) *Devices { return &Devices{dirs: dirs} }

// Dirs are where descriptions are looked for.
func (d *Devices) Dirs() []string { return d.dirs }

func (d *Devices) read() (*cdi.Cache, error) {
	return cdi.NewCache(cdi.WithSpecDirs(d.dirs...), cdi.WithAutoRefresh(false))
}

// List is the names of all devices that are described, sorted.
func (d *Devices) List() []string {
	cache, err := d.read()
	if err != nil {
		return nil
	}
	return cache.ListDevices()
}

// Inject writes the devices asked for into a runtime document. One that nobody describes is errdefs.ErrInvalidArgument.
func (d *Devices) Inject(doc *specs.Spec, requests []ct.DeviceRequest) error {
	if len(requests) == 0 {
		return nil
	}
	cache, err := d.read()
	if err != nil {
		return fmt.Errorf("read descriptions of devices: %w", err)
	}
	var names []string
	for _, r := range requests {
		chosen, err := choose(r, cache.ListDevices())
		if err != nil {
			return err
		}
		names = append(names, chosen...)
	}
	if missing, err := cache.InjectDevices(doc, names...); err != nil {
		text := err.Error()
		for _, name := range missing {
			for file, errs := range cache.GetErrors() {
				text += fmt.Sprintf(" (%s in %s: %v)", name, file, errs)
			}
		}
		return errdefs.ErrInvalidArgument.WithMessage("CDI device injection failed: " + text)
	}
	return nil
}

// choose gives the names of the devices that a request means.
func choose(r ct.DeviceRequest, known []string) ([]string, error) {
	if r.Driver == Driver {
		return r.DeviceIDs, nil
	}
	wantsGPU := slices.ContainsFunc(r.Capabilities, func(all []string) bool { return slices.Contains(all, "gpu") })
	if wantsGPU {
		for _, kind := range gpus {
			vendor, _, _ := strings.Cut(kind, ".")
			if r.Driver != "" && r.Driver != vendor {
				continue
			}
			if list := ofKind(known, kind); len(list) > 0 {
				return pick(r, kind, list), nil
			}
		}
	}
	return nil, errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("could not select device driver %q with capabilities: %v", r.Driver, r.Capabilities))
}

func ofKind(known []string, kind string) (names []string) {
	for _, name := range known {
		if rest, ok := strings.CutPrefix(name, kind+"="); ok {
			names = append(names, rest)
		}
	}
	return names
}

// pick gives those named, the first Count, or all when that is negative. The vendors' own name for all of them counts as one
// only there.
func pick(r ct.DeviceRequest, kind string, list []string) (names []string) {
	switch {
	case len(r.DeviceIDs) > 0:
		list = r.DeviceIDs
	case r.Count < 0 && slices.Contains(list, "all"):
		list = []string{"all"}
	default:
		list = slices.DeleteFunc(list, func(name string) bool { _, err := strconv.Atoi(name); return err != nil })
		slices.SortFunc(list, func(a, b string) int { x, _ := strconv.Atoi(a); y, _ := strconv.Atoi(b); return x - y })
		if r.Count >= 0 {
			for i := len(list); i < r.Count; i++ {
				list = append(list, strconv.Itoa(i)) // there are not so many: the name says so in the error
			}
			list = list[:r.Count]
		}
	}
	for _, name := range list {
		names = append(names, kind+"="+name)
	}
	return names
}
