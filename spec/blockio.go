package spec

import (
	"fmt"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/blkiodev"
	ct "github.com/moby/moby/api/types/container"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cove-containers/cove/sys"
)

func blockIO(s Settings, doc *specs.Spec) error {
	b := &specs.LinuxBlockIO{}
	if s.HostConfig.BlkioWeight != 0 {
		b.Weight = &s.HostConfig.BlkioWeight
	}
	doc.Linux.Resources.BlockIO = b
	return deviceLimits(b, s.HostConfig.Resources)
}

// throttle pairs a list of throttled devices in the API's settings with that of a document.
type throttle struct {
	from *[]*blkiodev.ThrottleDevice
	into *[]specs.LinuxThrottleDevice
}

func throttles(r *ct.Resources, b *specs.LinuxBlockIO) []throttle {
	return []throttle{
		{&r.BlkioDeviceReadBps, &b.ThrottleReadBpsDevice}, {&r.BlkioDeviceWriteBps, &b.ThrottleWriteBpsDevice},
		{&r.BlkioDeviceReadIOps, &b.ThrottleReadIOPSDevice}, {&r.BlkioDeviceWriteIOps, &b.ThrottleWriteIOPSDevice},
	}
}

// deviceLimits adds to b what r says of single devices.
func deviceLimits(b *specs.LinuxBlockIO, r ct.Resources) error {
	for _, w := range r.BlkioWeightDevice {
		d, err := sys.DeviceAt(w.Path)
		if err != nil {
			return fmt.Errorf("weight of device %s: %w (%w)", w.Path, err, errdefs.ErrInvalidArgument)
		}
		weighted := specs.LinuxWeightDevice{Weight: &w.Weight}
		weighted.Major, weighted.Minor = d.Major, d.Minor
		b.WeightDevice = append(b.WeightDevice, weighted)
	}
	for _, t := range throttles(&r, b) {
		for _, from := range *t.from {
			d, err := sys.DeviceAt(from.Path)
			if err != nil {
				return fmt.Errorf("throttle device %s: %w (%w)", from.Path, err, errdefs.ErrInvalidArgument)
			}
			throttled := specs.LinuxThrottleDevice{Rate: from.Rate}
			throttled.Major, throttled.Minor = d.Major, d.Minor
			*t.into = append(*t.into, throttled)
		}
	}
	return nil
}

// UpdateDevices adds to an update what becomes of the limits of single block devices: those of now, and zero, which
// lifts a limit, for what only stood before. A device that has gone since needs no lifting.
func UpdateDevices(update *specs.LinuxResources, before, now ct.Resources) error {
	b := update.BlockIO
	if b == nil {
		b = &specs.LinuxBlockIO{}
	}
	for _, w := range before.BlkioWeightDevice {
		if d, err := sys.DeviceAt(w.Path); err == nil {
			lifted := specs.LinuxWeightDevice{Weight: new(uint16)}
			lifted.Major, lifted.Minor = d.Major, d.Minor
			b.WeightDevice = append(b.WeightDevice, lifted)
		}
	}
	for _, t := range throttles(&before, b) {
		for _, from := range *t.from {
			if d, err := sys.DeviceAt(from.Path); err == nil {
				lifted := specs.LinuxThrottleDevice{}
				lifted.Major, lifted.Minor = d.Major, d.Minor
				*t.into = append(*t.into, lifted)
			}
		}
	}
	if err := deviceLimits(b, now); err != nil {
		return err
	}
	b.WeightDevice = lastOfEach(b.WeightDevice, func(d specs.LinuxWeightDevice) [2]int64 { return [2]int64{d.Major, d.Minor} })
	for _, t := range throttles(&before, b) {
		*t.into = lastOfEach(*t.into, func(d specs.LinuxThrottleDevice) [2]int64 { return [2]int64{d.Major, d.Minor} })
	}
	update.BlockIO = b
	return nil
}

// lastOfEach keeps of all that have the same key the last one: what stays limited is at no time free.
func lastOfEach[E any](all []E, key func(E) [2]int64) []E {
	last := map[[2]int64]int{}
	for i, e := range all {
		last[key(e)] = i
	}
	var kept []E
	for i, e := range all {
		if last[key(e)] == i {
			kept = append(kept, e)
		}
	}
	return kept
}
