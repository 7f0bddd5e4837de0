package plan

import (
	"slices"
	"strings"
	"testing"

	ct "github.com/moby/moby/api/types/container"
)

func TestValidateUsers(t *testing.T) {
	for want, h := range map[string]ct.HostConfig{
		"privileged mode is incompatible":           {Privileged: true},
		"cannot share the host's network namespace": {NetworkMode: "host"},
		"cannot share the host PID namespace":       {PidMode: "host"},
		"option WritableCgroups conflicts":          {SecurityOpt: []string{"writable-cgroups=false"}},
	} {
		config := &ct.Config{Cmd: []string{"x"}}
		if _, err := Validate(config, &h, Host{Remapped: true}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
		h.UsernsMode = "host"
		for _, host := range []Host{{Remapped: true}, {}} {
			if _, err := Validate(config, &h, host); err != nil {
				t.Errorf("in the host's user namespace: %v", err)
			}
		}
	}
	shared := Shared(&ct.HostConfig{NetworkMode: "container:a", IpcMode: "container:b", PidMode: "container:c"})
	if want := []Sharing{{"a", "network"}, {"b", "IPC"}, {"c", "PID"}}; !slices.Equal(shared, want) {
		t.Errorf("shares %v, want %v", shared, want)
	}
}
