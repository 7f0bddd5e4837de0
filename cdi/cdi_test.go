package cdi

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	ct "github.com/moby/moby/api/types/container"
	"github.com/opencontainers/runtime-spec/specs-go"
)

const described = `{"cdiVersion": "0.6.0", "kind": "nvidia.com/gpu", "devices": [
	{"name": "0", "containerEdits": {"env": ["GPU0=1"]}}, {"name": "10", "containerEdits": {"env": ["GPU10=1"]}},
	{"name": "2", "containerEdits": {"env": ["GPU2=1"]}}, {"name": "all", "containerEdits": {"env": ["GPUall=1"]}}]}`

func TestInject(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "gpu.json"), []byte(described), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "broken.yaml"), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	gpu := [][]string{{"gpu"}}
	for _, c := range []struct {
		name    string
		request ct.DeviceRequest
		want    string // the environment, or what the error says
	}{
		{"by name", ct.DeviceRequest{Driver: Driver, DeviceIDs: []string{"nvidia.com/gpu=2"}}, "GPU2=1"},
		{"all", ct.DeviceRequest{Count: -1, Capabilities: gpu}, "GPUall=1"},
		{"the first two", ct.DeviceRequest{Count: 2, Capabilities: gpu}, "GPU0=1 GPU2=1"},
		{"more than there are", ct.DeviceRequest{Count: 4, Capabilities: gpu}, "CDI device injection failed: unresolvable CDI devices nvidia.com/gpu=3"},
		{"chosen", ct.DeviceRequest{DeviceIDs: []string{"10"}, Capabilities: gpu}, "GPU10=1"},
		{"of a vendor", ct.DeviceRequest{Driver: "nvidia", Count: 1, Capabilities: gpu}, "GPU0=1"},
		{"of another vendor", ct.DeviceRequest{Driver: "amd", Count: 1, Capabilities: gpu}, `could not select device driver "amd" with capabilities: [[gpu]]`},
		{"something else", ct.DeviceRequest{Count: 1, Capabilities: [][]string{{"tpu"}}}, `could not select device driver "" with capabilities: [[tpu]]`},
		{"unknown", ct.DeviceRequest{Driver: Driver, DeviceIDs: []string{"x.org/y=1"}}, "unresolvable CDI devices x.org/y=1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			doc := &specs.Spec{Process: &specs.Process{}}
			err := New([]string{dir}).Inject(doc, []ct.DeviceRequest{c.request})
			got := strings.Join(doc.Process.Env, " ")
			if err != nil {
				got = err.Error()
			}
			if got != c.want && (err == nil || !strings.Contains(got, c.want)) {
				t.Errorf("%q, not %q", got, c.want)
			}
		})
	}
	if list := New([]string{dir}).List(); !slices.Equal(list, []string{"nvidia.com/gpu=0", "nvidia.com/gpu=10", "nvidia.com/gpu=2", "nvidia.com/gpu=all"}) {
		t.Errorf("listed %v", list)
	}
}
