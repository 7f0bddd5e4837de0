package plan

import (
	"cmp"
	"maps"

	ct "github.com/moby/moby/api/types/container"
	nt "github.com/moby/moby/api/types/network"

	"github.com/cove-containers/cove/logs"
	"github.com/cove-containers/cove/spec"
)

// defaultShmSize is the size of /dev/shm where nobody says otherwise.
const defaultShmSize = 64 << 20

// CompleteHost fills in what a request leaves to the daemon; the request, which may be nil, stays as it is.
func CompleteHost(request *ct.HostConfig, daemon *Config) *ct.HostConfig {
	h := ct.HostConfig{}
	if request != nil {
		h = *request
	}
	if h.NetworkMode == "" || h.NetworkMode.IsDefault() {
		h.NetworkMode = nt.NetworkBridge
	}
	if h.RestartPolicy.Name == "" {
		h.RestartPolicy.Name = ct.RestartPolicyDisabled
	}
	if h.IpcMode.IsEmpty() {
		h.IpcMode = cmp.Or(daemon.IpcMode, ct.IPCModePrivate)
	}
	if h.CgroupnsMode.IsEmpty() {
		h.CgroupnsMode = cmp.Or(daemon.CgroupnsMode, ct.CgroupnsModePrivate)
		// Groups can be lent to a container only where it sees no others.
		if o, err := spec.ParseSecurity(h.SecurityOpt); err == nil && o.WritableCgroups != nil && *o.WritableCgroups && !h.Privileged {
			h.CgroupnsMode = ct.CgroupnsModePrivate
		}
	}
	h.Runtime = cmp.Or(h.Runtime, daemon.DefaultRuntime)
	h.ShmSize = cmp.Or(h.ShmSize, daemon.ShmSize, defaultShmSize)
	if h.Memory > 0 && h.MemorySwap == 0 {
		h.MemorySwap = 2 * h.Memory
	}
	if h.PidsLimit != nil && *h.PidsLimit <= 0 {
		h.PidsLimit = nil
	}
	if h.MemorySwappiness != nil && *h.MemorySwappiness == -1 {
		h.MemorySwappiness = nil
	}
	h.LogConfig = completeLog(h.LogConfig, daemon)
	if !h.Privileged {
		if h.MaskedPaths == nil {
			h.MaskedPaths = spec.MaskedPaths()
		}
		if h.ReadonlyPaths == nil {
			h.ReadonlyPaths = spec.ReadonlyPaths()
		}
	}
	return &h
}

// completeLog is the log driver of a container: the daemon's with its options, or the one named; options of the
// daemon count where the driver is the daemon's too.
func completeLog(request ct.LogConfig, daemon *Config) ct.LogConfig {
	driver := cmp.Or(daemon.LogDriver, logs.JSONFile)
	out := ct.LogConfig{Type: cmp.Or(request.Type, driver), Config: map[string]string{}}
	if out.Type == driver {
		maps.Copy(out.Config, daemon.LogOptions)
	}
	maps.Copy(out.Config, request.Config)
	return out
}
