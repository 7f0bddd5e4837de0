package plan

import (
	ct "github.com/moby/moby/api/types/container"

	"github.com/cove-containers/cove/spec"
)

// ValidateUsers refuses what a container in a user namespace of its own cannot have, in Docker's words.
func ValidateUsers(h *ct.HostConfig) error {
	switch {
	case h.Privileged:
		return invalid("privileged mode is incompatible with user namespaces.  You must run the container in the host namespace when running privileged mode")
	case h.NetworkMode.IsHost():
		return invalid("cannot share the host's network namespace when user namespaces are enabled")
	case h.PidMode.IsHost():
		return invalid("cannot share the host PID namespace when user namespaces are enabled")
	}
	if o, err := spec.ParseSecurity(h.SecurityOpt); err == nil && o.WritableCgroups != nil {
		return invalid("option WritableCgroups conflicts with user namespaces and rootless mode")
	}
	return nil
}

// Sharing is another container of which one shares a namespace.
type Sharing struct{ With, Kind string }

// Shared lists the containers whose namespaces count for which user namespace a container can live in.
func Shared(h *ct.HostConfig) (all []Sharing) {
	if h.NetworkMode.IsContainer() {
		all = append(all, Sharing{h.NetworkMode.ConnectedContainer(), "network"})
	}
	if h.IpcMode.IsContainer() {
		all = append(all, Sharing{h.IpcMode.Container(), "IPC"})
	}
	if h.PidMode.IsContainer() {
		all = append(all, Sharing{h.PidMode.Container(), "PID"})
	}
	return all
}
