package plan

import (
	ct "github.com/moby/moby/api/types/container"
	nt "github.com/moby/moby/api/types/network"

	"github.com/cove-containers/cove/oci"
)

// ImageSettings are an image's settings in the words of a container's.
func ImageSettings(from oci.ImageConfig) *ct.Config {
	c := &ct.Config{
		User: from.User, Env: from.Env, Cmd: from.Cmd, Entrypoint: from.Entrypoint, Volumes: from.Volumes,
		WorkingDir: from.WorkingDir, Labels: from.Labels, StopSignal: from.StopSignal, Healthcheck: from.Healthcheck,
		Shell: from.Shell,
	}
	for text := range from.ExposedPorts {
		ports, err := nt.ParsePortRange(text)
		if err != nil {
			continue
		}
		for p := range ports.All() {
			if c.ExposedPorts == nil {
				c.ExposedPorts = nt.PortSet{}
			}
			c.ExposedPorts[p] = struct{}{}
		}
	}
	return c
}
