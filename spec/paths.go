package spec

import (
	"path/filepath"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
)

var maskedPaths = []string{
	"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/sched_debug",
	"/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/devices/virtual/powercap", "/sys/firmware",
}

var readonlyPaths = []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}

// processorPaths are hidden for each processor that has them: what they count tells of others' work.
const processorPaths = "/sys/devices/system/cpu/cpu[0-9]*/thermal_throttle"

// MaskedPaths are the paths hidden from a container that asks for nothing else.
func MaskedPaths() []string {
	found, _ := filepath.Glob(processorPaths) // fails for bad patterns only
	return append(slices.Clone(maskedPaths), found...)
}

// ReadonlyPaths are the paths a container that asks for nothing else cannot write.
func ReadonlyPaths() []string { return slices.Clone(readonlyPaths) }

func paths(s Settings, doc *specs.Spec) error {
	if s.HostConfig.Privileged {
		return nil
	}
	// Nil asks for the defaults; an empty list, as systempaths=unconfined sends it, asks for none.
	doc.Linux.MaskedPaths, doc.Linux.ReadonlyPaths = s.HostConfig.MaskedPaths, s.HostConfig.ReadonlyPaths
	if doc.Linux.MaskedPaths == nil {
		doc.Linux.MaskedPaths = MaskedPaths()
	}
	if doc.Linux.ReadonlyPaths == nil {
		doc.Linux.ReadonlyPaths = ReadonlyPaths()
	}
	return nil
}
