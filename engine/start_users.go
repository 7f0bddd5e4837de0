package engine

import (
	"github.com/cove-containers/cove/container"
	"github.com/cove-containers/cove/engine/plan"
	"github.com/cove-containers/cove/network"
	"github.com/cove-containers/cove/shim"
	"github.com/cove-containers/cove/spec"
)

// sandbox is what a container finds when it comes into being: its network, and its user namespace.
type sandbox struct {
	*network.Sandbox
	namespaces shim.Namespaces
}

// Close closes the files of both.
func (s sandbox) Close() {
	s.namespaces.Close()
	s.Sandbox.Close()
}

// usersOf is how the container's users are numbered outside; nil where it has the host's user namespace.
func (e *Engine) usersOf(c *container.Container) *spec.Users {
	if c.HostConfig.UsernsMode.IsHost() {
		return nil
	}
	return e.parts.Config.Remap
}

// openNamespaces makes the container's user namespace, and its network namespace, which has to belong to that.
func (e *Engine) openNamespaces(c *container.Container) (shim.Namespaces, error) {
	u := e.usersOf(c)
	if u == nil {
		return shim.Namespaces{}, nil
	}
	// It may have been made by a daemon without user namespaces.
	if err := spec.ValidateUsers(c.HostConfig); err != nil {
		return shim.Namespaces{}, err
	}
	var pids []int
	for _, s := range plan.Shared(c.HostConfig) {
		other, err := e.neighbour(c, s.With, s.Kind)
		if err != nil {
			return shim.Namespaces{}, err
		}
		pids = append(pids, other.State.Pid)
	}
	return shim.OpenNamespaces(u.Users, u.Groups, pids, !c.HostConfig.NetworkMode.IsContainer())
}
