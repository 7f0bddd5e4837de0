package storage

import (
	"fmt"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/cove-containers/cove/spec"
	"github.com/cove-containers/cove/sys"
)

// checkPropagation refuses a bind that is to share mounts with the host, or to get those of the host, where the host's
// side shares none: it would be asked for in vain.
func checkPropagation(m spec.Mount) error {
	kind := strings.TrimPrefix(m.Propagation, "r")
	if m.Type != "bind" || kind != "shared" && kind != "slave" {
		return nil
	}
	point, shared, slave, err := sys.MountOf(m.Source)
	switch {
	case err != nil:
		return fmt.Errorf("look at mount of %s: %w", m.Source, err)
	case shared || kind == "slave" && slave:
		return nil
	case kind == "slave":
		kind = "shared or slave"
	}
	return errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("path %s is mounted on %s but it is not a %s mount", m.Source, point, kind))
}
