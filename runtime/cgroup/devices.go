package cgroup

import (
	"strconv"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// devicesOld writes device rules the way the devices controller takes them, one rule a write, in their order.
func devicesOld(rules []specs.LinuxDeviceCgroup) []setting {
	var all []setting
	for _, r := range rules {
		file := "devices.deny"
		if r.Allow {
			file = "devices.allow"
		}
		all = append(all, setting{file: file, value: deviceRule(r)})
	}
	return all
}

// deviceRule is "TYPE MAJOR:MINOR ACCESS", or "a" for everything.
func deviceRule(r specs.LinuxDeviceCgroup) string {
	kind := r.Type
	if kind == "" || kind == "a" {
		return "a"
	}
	access := r.Access
	if access == "" {
		access = "rwm"
	}
	return kind + " " + deviceNumber(r.Major) + ":" + deviceNumber(r.Minor) + " " + access
}

func deviceNumber(n *int64) string {
	if n == nil || *n < 0 {
		return "*"
	}
	return strconv.FormatInt(*n, 10)
}
