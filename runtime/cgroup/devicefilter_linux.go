package cgroup

import "github.com/opencontainers/runtime-spec/specs-go"

func attachDeviceFilter(dir string, rules []specs.LinuxDeviceCgroup) error { return nil }
