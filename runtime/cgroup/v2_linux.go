package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// makeUnified makes the group and hands every controller down to it, from the top: a controller works in a group
// only where each group above gives it on.
func makeUnified(mount, path string) error {
	dir := mount
	for _, part := range strings.Split(strings.Trim(path, "/"), "/") {
		if err := giveControllers(dir); err != nil {
			return err
		}
		dir = filepath.Join(dir, part)
		if _, err := makeDir(dir); err != nil {
			return err
		}
	}
	return nil
}

// giveControllers lets the groups in dir use what dir itself may use. Some controllers cannot be given at some
// places (a real-time process in the way, a threaded group), so each is tried on its own when all together fail.
func giveControllers(dir string) error {
	available, err := read(dir, "cgroup.controllers")
	if err != nil {
		return err
	}
	given, err := read(dir, "cgroup.subtree_control")
	if err != nil {
		return err
	}
	has := map[string]bool{}
	for _, c := range strings.Fields(given) {
		has[c] = true
	}
	var lacking []string
	for _, c := range strings.Fields(available) {
		if !has[c] {
			lacking = append(lacking, "+"+c)
		}
	}
	if len(lacking) == 0 || write(dir, "cgroup.subtree_control", strings.Join(lacking, " ")) == nil {
		return nil
	}
	for _, c := range lacking {
		if err := write(dir, "cgroup.subtree_control", c); errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) {
			return err
		}
	}
	return nil
}

// updateUnified applies the limits r sets.
func (c *Cgroup) updateUnified(r *specs.LinuxResources) error {
	dir := c.dir("")
	var all []setting
	memory, err := memoryUnified(r.Memory)
	if err != nil {
		return err
	}
	all = append(all, memory...)
	all = append(all, cpuUnified(r.CPU, quotaNow(dir, r.CPU))...)
	all = append(all, cpusetSettings(r.CPU)...)
	if r.Pids != nil && r.Pids.Limit != nil {
		all = append(all, setting{file: "pids.max", value: limit(*r.Pids.Limit)})
	}
	all = append(all, blockUnified(r.BlockIO)...)
	for _, l := range r.HugepageLimits {
		all = append(all, setting{file: "hugetlb." + l.Pagesize + ".max", value: strconv.FormatUint(l.Limit, 10)})
	}
	all = append(all, rdma(r.Rdma)...)
	for file, value := range r.Unified {
		if strings.Contains(file, "/") {
			return fmt.Errorf("unified resource %q must be a file name", file)
		}
		all = append(all, setting{file: file, value: value})
	}
	if err := apply(dir, all); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("set limits: the controller is not available in %s: %w", c.path, err)
		}
		return fmt.Errorf("set limits: %w", err)
	}
	if len(r.Devices) > 0 {
		if err := attachDeviceFilter(dir, r.Devices); err != nil {
			return fmt.Errorf("limit devices: %w", err)
		}
	}
	return nil
}

// memoryUnified translates memory limits: swap is counted by itself here, not together with memory.
func memoryUnified(m *specs.LinuxMemory) ([]setting, error) {
	if m == nil {
		return nil, nil
	}
	var all []setting
	if m.Swap != nil {
		value := ""
		switch {
		case *m.Swap == -1:
			value = "max"
		case m.Limit == nil || *m.Limit <= 0:
			return nil, fmt.Errorf("unable to set swap limit without memory limit")
		case *m.Swap < *m.Limit:
			return nil, fmt.Errorf("memory+swap limit should be >= memory limit")
		default:
			value = strconv.FormatInt(*m.Swap-*m.Limit, 10)
		}
		all = append(all, setting{"memory.swap.max", value, true})
	}
	if m.Limit != nil {
		all = append(all, setting{file: "memory.max", value: limit(*m.Limit)})
	}
	if m.Reservation != nil {
		value := limit(*m.Reservation)
		if *m.Reservation == 0 {
			value = "0"
		}
		all = append(all, setting{file: "memory.low", value: value})
	}
	return all, nil
}

// cpuUnified translates limits of CPU time; now is what cpu.max says, from which comes the one of quota and period that c does not give.
func cpuUnified(c *specs.LinuxCPU, now string) []setting {
	if c == nil {
		return nil
	}
	var all []setting
	if c.Idle != nil {
		all = append(all, setting{file: "cpu.idle", value: strconv.FormatInt(*c.Idle, 10)})
	}
	if c.Shares != nil && *c.Shares != 0 && (c.Idle == nil || *c.Idle == 0) {
		all = append(all, setting{file: "cpu.weight", value: strconv.FormatUint(cpuWeight(*c.Shares), 10)})
	}
	if c.Quota != nil || c.Period != nil {
		all = append(all, setting{file: "cpu.max", value: quotaAndPeriod(c, now)})
	}
	if c.Burst != nil {
		all = append(all, setting{file: "cpu.max.burst", value: strconv.FormatUint(*c.Burst, 10)})
	}
	return all
}

// quotaNow reads what a group's cpu.max says, where c gives one of its two numbers and the other is to stay.
func quotaNow(dir string, c *specs.LinuxCPU) string {
	if c == nil || (c.Quota == nil) == (c.Period == nil) {
		return ""
	}
	now, _ := read(dir, "cpu.max") // where it cannot be read, writing it fails and says why
	return now
}

// quotaAndPeriod is a line for cpu.max, which holds both numbers: a write of one alone would be a change of the other as well.
func quotaAndPeriod(c *specs.LinuxCPU, now string) string {
	quota, period, _ := strings.Cut(now, " ")
	switch {
	case c.Quota != nil && *c.Quota > 0:
		quota = strconv.FormatInt(*c.Quota, 10)
	case c.Quota != nil || quota == "":
		quota = "max"
	}
	switch {
	case c.Period != nil && *c.Period != 0:
		period = strconv.FormatUint(*c.Period, 10)
	case period == "":
		period = "100000"
	}
	return quota + " " + period
}

// cpuWeight translates shares (2 to 262144, 1024 being a normal group's) into a weight (1 to 10000, 100 being a
// normal group's) by the curve that meets all three points.
func cpuWeight(shares uint64) uint64 {
	if shares <= 2 {
		return 1
	}
	if shares >= 262144 {
		return 10000
	}
	l := math.Log2(float64(shares))
	return uint64(math.Ceil(math.Pow(10, (l*l+125*l)/612-7.0/34)))
}

// blockUnified translates weights, which have another range here, and throttles, which are one file.
func blockUnified(b *specs.LinuxBlockIO) []setting {
	if b == nil {
		return nil
	}
	var all []setting
	weigh := func(prefix string, w uint16) {
		all = append(all,
			setting{"io.bfq.weight", prefix + strconv.Itoa(int(w)), true},
			setting{"io.weight", prefix + strconv.Itoa(int(1+(uint32(w)-10)*9999/990)), true})
	}
	if b.Weight != nil && *b.Weight >= 10 {
		weigh("", *b.Weight)
	}
	for _, d := range b.WeightDevice {
		device := fmt.Sprintf("%d:%d ", d.Major, d.Minor)
		switch {
		case d.Weight != nil && *d.Weight >= 10:
			weigh(device, *d.Weight)
		case d.Weight != nil && *d.Weight == 0:
			all = append(all, setting{"io.bfq.weight", device + weightOf(0), true}, setting{"io.weight", device + weightOf(0), true})
		}
	}
	for _, t := range []struct {
		key  string
		list []specs.LinuxThrottleDevice
	}{
		{"rbps", b.ThrottleReadBpsDevice}, {"wbps", b.ThrottleWriteBpsDevice},
		{"riops", b.ThrottleReadIOPSDevice}, {"wiops", b.ThrottleWriteIOPSDevice},
	} {
		for _, d := range t.list {
			value := "max"
			if d.Rate != 0 {
				value = strconv.FormatUint(d.Rate, 10)
			}
			all = append(all, setting{file: "io.max", value: fmt.Sprintf("%d:%d %s=%s", d.Major, d.Minor, t.key, value)})
		}
	}
	return all
}
