package spec

import (
	"reflect"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/blkiodev"
	ct "github.com/moby/moby/api/types/container"
	"github.com/opencontainers/runtime-spec/specs-go"
)

func TestUpdatedDevices(t *testing.T) {
	rate := func(path string, n uint64) *blkiodev.ThrottleDevice {
		return &blkiodev.ThrottleDevice{Path: path, Rate: n}
	}
	device := func(minor int64, n uint64) specs.LinuxThrottleDevice {
		d := specs.LinuxThrottleDevice{Rate: n}
		d.Major, d.Minor = 1, minor
		return d
	}
	before := ct.Resources{
		BlkioWeightDevice:   []*blkiodev.WeightDevice{{Path: "/dev/null", Weight: 200}},
		BlkioDeviceReadBps:  []*blkiodev.ThrottleDevice{rate("/dev/null", 5), rate("/dev/zero", 6), rate("/dev/nosuch", 7)},
		BlkioDeviceWriteBps: []*blkiodev.ThrottleDevice{rate("/dev/zero", 8)},
	}
	now := ct.Resources{
		BlkioDeviceReadBps:  []*blkiodev.ThrottleDevice{rate("/dev/zero", 9), rate("/dev/full", 10)},
		BlkioDeviceReadIOps: []*blkiodev.ThrottleDevice{rate("/dev/null", 11)},
	}
	weight := uint16(300)
	u := &specs.LinuxResources{BlockIO: &specs.LinuxBlockIO{Weight: &weight}}
	if err := UpdateDevices(u, before, now); err != nil {
		t.Fatal(err)
	}
	lifted := specs.LinuxWeightDevice{Weight: new(uint16)}
	lifted.Major, lifted.Minor = 1, 3
	want := &specs.LinuxBlockIO{
		Weight:                  &weight,
		WeightDevice:            []specs.LinuxWeightDevice{lifted},
		ThrottleReadBpsDevice:   []specs.LinuxThrottleDevice{device(3, 0), device(5, 9), device(7, 10)},
		ThrottleWriteBpsDevice:  []specs.LinuxThrottleDevice{device(5, 0)},
		ThrottleReadIOPSDevice:  []specs.LinuxThrottleDevice{device(3, 11)},
		ThrottleWriteIOPSDevice: nil,
	}
	if !reflect.DeepEqual(u.BlockIO, want) {
		t.Errorf("got %+v\nwant %+v", u.BlockIO, want)
	}
	now.BlkioDeviceReadIOps[0].Path = "/dev/nosuch"
	if err := UpdateDevices(&specs.LinuxResources{}, before, now); err == nil || !strings.Contains(err.Error(), "/dev/nosuch") {
		t.Errorf("a device that is not there: %v", err)
	}
}
