package plan

import (
	"testing"

	ct "github.com/moby/moby/api/types/container"
)

func TestCompleteHost(t *testing.T) {
	daemon := &Config{DefaultRuntime: "cove", LogDriver: "local", LogOptions: map[string]string{"max-size": "1m"}}
	h := CompleteHost(nil, daemon)
	if h.NetworkMode != "bridge" || h.RestartPolicy.Name != "no" || h.ShmSize != defaultShmSize || h.Runtime != "cove" || h.LogConfig.Config["max-size"] != "1m" || len(h.MaskedPaths) == 0 {
		t.Errorf("of nothing: %+v", h)
	}
	daemon.CgroupnsMode = "host"
	for option, want := range map[string]ct.CgroupnsMode{"writable-cgroups=true": "private", "writable-cgroups=false": "host"} {
		if h = CompleteHost(&ct.HostConfig{SecurityOpt: []string{option}}, daemon); h.CgroupnsMode != want {
			t.Errorf("cgroup namespace with %s: %s", option, h.CgroupnsMode)
		}
	}
	zero := int64(0)
	request := &ct.HostConfig{Privileged: true, LogConfig: ct.LogConfig{Type: "none"}, Resources: ct.Resources{Memory: 10, PidsLimit: &zero}}
	h = CompleteHost(request, daemon)
	if h.MemorySwap != 20 || h.PidsLimit != nil || h.MaskedPaths != nil || len(h.LogConfig.Config) != 0 {
		t.Errorf("of a request: %+v", h)
	}
	if request.MemorySwap != 0 || request.PidsLimit == nil {
		t.Error("the request was changed")
	}
}
