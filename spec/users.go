package spec

import (
	"github.com/containerd/errdefs"
	ct "github.com/moby/moby/api/types/container"
)

// ValidateUsers refuses what a container in a user namespace of its own cannot have, in Docker's words.
func ValidateUsers(h *ct.HostConfig) error {
	switch {
	case h.Privileged:
		return errdefs.ErrInvalidArgument.WithMessage("privileged mode is incompatible with user namespaces.  You must run the container in the host namespace when running privileged mode")
	case h.NetworkMode.IsHost():
		return errdefs.ErrInvalidArgument.WithMessage("cannot share the host's network namespace when user namespaces are enabled")
	case h.PidMode.IsHost():
		return errdefs.ErrInvalidArgument.WithMessage("cannot share the host PID namespace when user namespaces are enabled")
	}
	if o, err := ParseSecurity(h.SecurityOpt); err == nil && o.WritableCgroups != nil {
		return errdefs.ErrInvalidArgument.WithMessage("option WritableCgroups conflicts with user namespaces and rootless mode")
	}
	return nil
}
