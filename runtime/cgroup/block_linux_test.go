package cgroup

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

func throttle(major, minor int64, rate uint64) []specs.LinuxThrottleDevice {
	d := specs.LinuxThrottleDevice{Rate: rate}
	d.Major, d.Minor = major, minor
	return []specs.LinuxThrottleDevice{d}
}

func weight(major, minor int64, w uint16) []specs.LinuxWeightDevice {
	d := specs.LinuxWeightDevice{Weight: &w}
	d.Major, d.Minor = major, minor
	return []specs.LinuxWeightDevice{d}
}

// TestUnifiedDevices looks at every setting by itself: what the kernel keeps apart in one file, a plain file does not.
func TestUnifiedDevices(t *testing.T) {
	for _, tt := range []struct {
		block specs.LinuxBlockIO
		want  string
	}{
		{specs.LinuxBlockIO{ThrottleReadBpsDevice: throttle(8, 0, 1000)}, "io.max 8:0 rbps=1000"},
		{specs.LinuxBlockIO{ThrottleWriteBpsDevice: throttle(8, 0, 0)}, "io.max 8:0 wbps=max"},
		{specs.LinuxBlockIO{ThrottleReadIOPSDevice: throttle(8, 0, 7)}, "io.max 8:0 riops=7"},
		{specs.LinuxBlockIO{ThrottleWriteIOPSDevice: throttle(8, 0, 0)}, "io.max 8:0 wiops=max"},
		{specs.LinuxBlockIO{WeightDevice: weight(8, 0, 500)}, "io.bfq.weight 8:0 500, io.weight 8:0 4950"},
		{specs.LinuxBlockIO{WeightDevice: weight(8, 0, 0)}, "io.bfq.weight 8:0 default, io.weight 8:0 default"},
	} {
		var got []string
		for _, s := range blockUnified(&tt.block) {
			got = append(got, s.file+" "+s.value)
		}
		if strings.Join(got, ", ") != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
	h, dir := fakeUnified(t, "/x", map[string]string{"io.max": ""})
	c := &Cgroup{host: h, path: "/x"}
	for rate, want := range map[uint64]string{5: "8:0 rbps=5", 0: "8:0 rbps=max"} {
		if err := c.Update(&specs.LinuxResources{BlockIO: &specs.LinuxBlockIO{ThrottleReadBpsDevice: throttle(8, 0, rate)}}); err != nil {
			t.Fatal(err)
		}
		if got := content(t, filepath.Join(dir, "io.max")); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// wholeDisk is some disk of this host: partitions cannot be throttled.
func wholeDisk(t *testing.T) (major, minor int64) {
	t.Helper()
	disks, _ := os.ReadDir("/sys/block")
	for _, d := range disks {
		text, err := os.ReadFile("/sys/block/" + d.Name() + "/dev")
		a, b, _ := strings.Cut(strings.TrimSpace(string(text)), ":")
		major, errA := strconv.ParseInt(a, 10, 64)
		minor, errB := strconv.ParseInt(b, 10, 64)
		if err == nil && errA == nil && errB == nil {
			return major, minor
		}
	}
	t.Skip("needs a block device")
	return 0, 0
}

func TestDevicesOnThisHost(t *testing.T) {
	h := needRoot(t)
	c := real(t, h, nil)
	dir := c.dir("blkio")
	if h.unified || dir == "" {
		t.Skip("needs the blkio controller of the older hierarchies")
	}
	major, minor := wholeDisk(t)
	files := map[string]func(*specs.LinuxBlockIO, uint64){
		"blkio.throttle.read_bps_device":   func(b *specs.LinuxBlockIO, n uint64) { b.ThrottleReadBpsDevice = throttle(major, minor, n) },
		"blkio.throttle.write_bps_device":  func(b *specs.LinuxBlockIO, n uint64) { b.ThrottleWriteBpsDevice = throttle(major, minor, n) },
		"blkio.throttle.read_iops_device":  func(b *specs.LinuxBlockIO, n uint64) { b.ThrottleReadIOPSDevice = throttle(major, minor, n) },
		"blkio.throttle.write_iops_device": func(b *specs.LinuxBlockIO, n uint64) { b.ThrottleWriteIOPSDevice = throttle(major, minor, n) },
	}
	for _, rate := range []uint64{7 << 20, 9 << 20, 0} {
		var b specs.LinuxBlockIO
		for _, set := range files {
			set(&b, rate)
		}
		if err := c.Update(&specs.LinuxResources{BlockIO: &b}); err != nil {
			t.Fatal(err)
		}
		want := ""
		if rate != 0 {
			want = fmt.Sprintf("%d:%d %d", major, minor, rate)
		}
		for file := range files {
			if got, err := read(dir, file); got != want || err != nil {
				t.Errorf("%s is %q, %v, want %q", file, got, err, want)
			}
		}
	}
	t.Run("weights", func(t *testing.T) {
		before := weights(dir)
		for _, w := range []uint16{300, 0} {
			if err := c.Update(&specs.LinuxResources{BlockIO: &specs.LinuxBlockIO{WeightDevice: weight(major, minor, w)}}); err != nil {
				t.Skipf("needs a scheduler that gives devices weights: %v", err)
			}
		}
		if after := weights(dir); !slices.Equal(before, after) {
			t.Errorf("%q, before a weight was set and lifted %q", after, before)
		}
	})
}

func weights(dir string) []string {
	var all []string
	for _, file := range []string{"blkio.weight_device", "blkio.bfq.weight_device"} {
		if s, err := read(dir, file); err == nil {
			all = append(all, s)
		}
	}
	return all
}
