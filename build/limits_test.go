package build

import (
	"testing"

	"github.com/containerd/errdefs"

	"github.com/cove-containers/cove/build/step"
)

func TestLimitsOfOptions(t *testing.T) {
	l, err := limitsOf(map[string]string{"target": "x", "run:memory": "64", "run:memory-swap": "-1", "run:cpuset-cpus": "0-1", "run:network": "n", "run:cpu-quota": "7"})
	want := step.Limits{Memory: 64, MemorySwap: -1, CPUSetCPUs: "0-1", NetworkMode: "n", CPUQuota: 7}
	if err != nil || l == nil || l.Memory != want.Memory || l.MemorySwap != want.MemorySwap || l.CPUSetCPUs != want.CPUSetCPUs || l.NetworkMode != want.NetworkMode || l.CPUQuota != want.CPUQuota {
		t.Errorf("%+v %v", l, err)
	}
	if l, err := limitsOf(map[string]string{"target": "x"}); l != nil || err != nil {
		t.Errorf("%+v %v", l, err)
	}
	for key, val := range map[string]string{"run:memory": "much", "run:nothing": "1"} {
		if _, err := limitsOf(map[string]string{key: val}); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%s=%s: %v", key, val, err)
		}
	}
}
