package opts

import (
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/blkiodev"
	"github.com/moby/moby/api/types/container"
)

// parseDevice reads a value of --device: "host[:inside][:permissions]".
func parseDevice(spec string) (container.DeviceMapping, error) {
	d := container.DeviceMapping{CgroupPermissions: "rwm"}
	parts := strings.Split(spec, ":")
	if len(parts) > 3 || parts[0] == "" {
		return d, errors.New("bad format for path: " + spec)
	}
	d.PathOnHost, d.PathInContainer = parts[0], parts[0]
	switch {
	case len(parts) == 2 && isDeviceMode(parts[1]):
		d.CgroupPermissions = parts[1]
	case len(parts) == 2:
		d.PathInContainer = parts[1]
	case len(parts) == 3 && !isDeviceMode(parts[2]):
		return d, errors.New("bad mode specified: " + parts[2])
	case len(parts) == 3:
		d.PathInContainer, d.CgroupPermissions = parts[1], parts[2]
	}
	if !path.IsAbs(d.PathInContainer) {
		return d, errors.New(d.PathInContainer + " is not an absolute path")
	}
	if len(parts) < 3 {
		d.PathInContainer = path.Clean(d.PathInContainer)
		if len(parts) == 1 || isDeviceMode(parts[1]) {
			d.PathOnHost = d.PathInContainer
		}
	}
	return d, nil
}

func isDeviceMode(s string) bool {
	if s == "" || len(s) > 3 {
		return false
	}
	for i, c := range s {
		if !strings.ContainsRune("rwm", c) || strings.ContainsRune(s[:i], c) {
			return false
		}
	}
	return true
}

// isCDI tells whether a value of --device names a device of the Container Device Interface: "vendor/class=name".
func isCDI(s string) bool {
	kind, name, ok := strings.Cut(s, "=")
	vendor, class, slash := strings.Cut(kind, "/")
	return ok && slash && vendor != "" && class != "" && name != "" && !strings.ContainsAny(kind, ": ")
}

// checkDeviceRule checks a value of --device-cgroup-rule: "type major:minor permissions".
func checkDeviceRule(s string) (string, error) {
	bad := fmt.Errorf("invalid device cgroup format '%s'", s)
	fields := strings.Split(s, " ")
	if len(fields) != 3 || len(fields[0]) != 1 || !strings.Contains("acb", fields[0]) || !isDeviceRuleMode(fields[2]) {
		return s, bad
	}
	major, minor, ok := strings.Cut(fields[1], ":")
	if !ok || !isDeviceNumber(major) || !isDeviceNumber(minor) {
		return s, bad
	}
	return s, nil
}

func isDeviceRuleMode(s string) bool {
	return len(s) >= 1 && len(s) <= 3 && strings.Trim(s, "rwm") == ""
}

func isDeviceNumber(s string) bool {
	return s == "*" || s != "" && strings.Trim(s, "0123456789") == ""
}

func parseWeight(s string) (*blkiodev.WeightDevice, error) {
	device, val, err := splitDevice(s)
	if err != nil {
		return nil, err
	}
	weight, err := strconv.ParseUint(val, 10, 16)
	if err != nil || weight > 0 && (weight < 10 || weight > 1000) {
		return nil, errors.New("invalid weight for device: " + s)
	}
	return &blkiodev.WeightDevice{Path: device, Weight: uint16(weight)}, nil
}

func parseRate(s string) (*blkiodev.ThrottleDevice, error) {
	device, val, err := splitDevice(s)
	if err != nil {
		return nil, err
	}
	rate, err := units.RAMInBytes(val)
	if err != nil || rate < 0 {
		return nil, errors.New("invalid rate for device: " + s +
			". The correct format is <device-path>:<number>[<unit>]. Number must be a positive integer. Unit is optional and can be kb, mb, or gb")
	}
	return &blkiodev.ThrottleDevice{Path: device, Rate: uint64(rate)}, nil
}

func parseIOps(s string) (*blkiodev.ThrottleDevice, error) {
	device, val, err := splitDevice(s)
	if err != nil {
		return nil, err
	}
	rate, err := strconv.ParseUint(val, 10, 64)
	if err != nil {
		return nil, errors.New("invalid rate for device: " + s + ". The correct format is <device-path>:<number>. Number must be a positive integer")
	}
	return &blkiodev.ThrottleDevice{Path: device, Rate: rate}, nil
}

func splitDevice(s string) (device, val string, err error) {
	device, val, ok := strings.Cut(s, ":")
	if !ok || device == "" {
		return "", "", errors.New("bad format: " + s)
	}
	if !strings.HasPrefix(device, "/dev/") {
		return "", "", errors.New("bad format for device path: " + s)
	}
	return device, val, nil
}
