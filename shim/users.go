package shim

import (
	"context"
	"fmt"
	"os"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cove-containers/cove/runtime"
)

// keptUsers is the name by which the user namespace is kept that the container is to live in.
const keptUsers = "users"

// Namespaces are those of a container that must be there before its supervisor makes it: the user namespace, and a new network
// namespace that belongs to it. Without them, the container's user namespace is the host's.
type Namespaces struct{ Users, Network *os.File }

// Close closes the files. The namespaces go on while somebody is in them, or a supervisor keeps them.
func (n Namespaces) Close() {
	closeFile(n.Users)
	closeFile(n.Network)
}

// Keep hands the user namespace over to the supervisor, which makes the container in it. The layers of the container's root then
// have the numbers that users have inside.
func (n Namespaces) Keep(ctx context.Context, s interface {
	Keep(ctx context.Context, name string, file *os.File) error
}) error {
	if n.Users == nil {
		return nil
	}
	if err := s.Keep(ctx, keptUsers, n.Users); err != nil {
		return fmt.Errorf("hand over user namespace: %w", err)
	}
	return nil
}

// OpenNamespaces makes a user namespace or, where the container shares others with processes, joins the one that these live in:
// only there does it have any power over what it shares. With network it makes a network namespace, too.
func OpenNamespaces(users, groups []specs.LinuxIDMapping, pids []int, network bool) (n Namespaces, err error) {
	defer func() {
		if err != nil {
			n.Close()
			n = Namespaces{}
		}
	}()
	for _, pid := range pids {
		f, err := os.Open(fmt.Sprintf("/proc/%d/ns/user", pid))
		if err != nil {
			return n, fmt.Errorf("open user namespace: %w", err)
		}
		if n.Users != nil && !same(n.Users, f) {
			closeFile(f)
			return n, errdefs.ErrInvalidArgument.WithMessage("cannot share namespaces of containers that have different user namespaces")
		}
		closeFile(n.Users)
		n.Users = f
	}
	if n.Users == nil {
		if n.Users, err = runtime.NewUserNamespace(users, groups); err != nil {
			return n, err
		}
	}
	own, err := os.Open("/proc/self/ns/user")
	if err != nil {
		return n, err
	}
	defer own.Close()
	if same(n.Users, own) {
		return n, errdefs.ErrInvalidArgument.WithMessage("cannot share namespaces of a container in the host's user namespace, unless with --userns=host")
	}
	if network {
		n.Network, err = runtime.NewNetworkNamespace(n.Users)
	}
	return n, err
}

func same(a, b *os.File) bool {
	x, errX := a.Stat()
	y, errY := b.Stat()
	return errX == nil && errY == nil && os.SameFile(x, y)
}
