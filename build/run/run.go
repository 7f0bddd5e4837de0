// Package run carries out RUN: it gives a step's process its file systems, its network, its secrets and its limits, and
// makes a layer of what it has changed. What the process sees, and which of two steps count as the same, is as with
// BuildKit; the process is a child of one small supervisor for all steps, without a container's record, log or daemon hop.
//
// The file systems of a step are mounts that are in no mount table: this process makes them, the supervisor attaches them
// in the step's own mount namespace, and they are gone when both have let go of them, however that happens.
//
// Containers that front ends and debuggers start processes in (NewContainer) are made of the same parts.
package run

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	"github.com/containerd/errdefs"
	"github.com/moby/buildkit/solver/pb"
	ct "github.com/moby/moby/api/types/container"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cove-containers/cove/build/content"
	"github.com/cove-containers/cove/build/step"
	"github.com/cove-containers/cove/cache"
	"github.com/cove-containers/cove/layer"
	"github.com/cove-containers/cove/network"
	"github.com/cove-containers/cove/shim"
	"github.com/cove-containers/cove/spec"
)

// networks gives steps their network; *network.Keeper is one.
type networks interface {
	Join(ctx context.Context, id string, req network.Request) (*network.Sandbox, error)
	Leave(id string) error
	HostGateways() []netip.Addr
}

// devices puts what vendors describe into documents; *cdi.Devices is one.
type devices interface {
	Inject(doc *specs.Spec, requests []ct.DeviceRequest) error
}

// Parts are what steps are made with.
type Parts struct {
	Layers   *layer.Store
	Content  *content.Store
	Networks networks
	Steps    *shim.Steps
	Mounts   *cache.Mounts
	Devices  devices // nil: there are none
	Config   Config
}

// Config is what the daemon says about steps.
type Config struct {
	// Dir is a folder for run-time state, made if absent.
	Dir string
	// CgroupParent is the cgroup that those of steps are made in, where the client names none.
	CgroupParent string
	// SeccompCache is the folder of compiled filters; SeccompProfile and NoNewPrivileges are the daemon's defaults.
	SeccompCache    string
	SeccompProfile  string
	NoNewPrivileges bool
	// AppArmor gives the profile of steps, as spec.Settings has it; nil: they have none.
	AppArmor func() (string, error)
	ShmSize  int64
	Ulimits  []*ct.Ulimit
	// Users is how the user namespace of a step is numbered; nil: steps have the host's.
	Users *spec.Users
	// Resolv is how names are resolved.
	Resolv network.ResolvInput
}

// Runner makes and carries out steps of the kind RUN. It is safe for concurrent use.
type Runner struct {
	parts Parts
	etc   *etc
}

// New makes a runner.
func New(parts Parts) (*Runner, error) {
	dir := filepath.Join(parts.Config.Dir, "etc")
	if err := os.RemoveAll(dir); err != nil {
		return nil, fmt.Errorf("prepare build steps: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("prepare build steps: %w", err)
	}
	return &Runner{parts: parts, etc: &etc{dir: dir}}, nil
}

// Op makes the step for a RUN operation.
func (r *Runner) Op(op *pb.Op, exec *pb.ExecOp, v step.Vertex) (step.Op, error) {
	o := &operation{runner: r, exec: exec, vertex: v, inputs: len(op.GetInputs())}
	if err := o.check(); err != nil {
		return nil, err
	}
	var err error
	o.key, err = o.makeKey()
	return o, err
}

// operation is one RUN.
type operation struct {
	runner *Runner
	exec   *pb.ExecOp
	vertex step.Vertex
	inputs int
	key    step.Key
}

// check refuses what makes no sense, so that the rest can rely on it.
func (o *operation) check() error {
	meta := o.exec.GetMeta()
	switch {
	case meta == nil || len(meta.GetArgs()) == 0:
		return invalid("exec operation without a command")
	case len(o.exec.GetMounts()) == 0:
		return invalid("exec operation without mounts")
	}
	if err := pb.ValidateSecurityMode(o.exec.GetSecurity()); err != nil {
		return invalid("%v", err)
	}
	root := false
	for _, m := range o.exec.GetMounts() {
		root = root || m.GetDest() == pb.RootMount
		if in := m.GetInput(); in < -1 || in >= int64(o.inputs) {
			return invalid("exec operation: mount %s has input %d, which does not exist", m.GetDest(), in)
		}
	}
	if !root {
		return invalid("exec operation without a root mount")
	}
	return nil
}

func invalid(format string, args ...any) error {
	return errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf(format, args...))
}

// Entitlements BuildKit's clients know.
const (
	NetworkHost      = "network.host"
	SecurityInsecure = "security.insecure"
	DeviceAccess     = "device"
)

// Entitled tells whether a build that was granted these entitlements may have the step; if not, which one it lacks. Builds
// that share a step are asked each for itself. "device" grants all devices, "device=NAME" the one.
func Entitled(exec *pb.ExecOp, granted []string) error {
	var needs []string
	if exec.GetNetwork() == pb.NetMode_HOST {
		needs = append(needs, NetworkHost)
	}
	if exec.GetSecurity() == pb.SecurityMode_INSECURE {
		needs = append(needs, SecurityInsecure)
	}
	if !slices.Contains(granted, DeviceAccess) {
		for _, d := range exec.GetCdiDevices() {
			needs = append(needs, DeviceAccess+"="+d.GetName())
		}
	}
	for _, need := range needs {
		if !slices.Contains(granted, need) {
			return errdefs.ErrPermissionDenied.WithMessage(need + " is not allowed: give the build the entitlement, --allow " + need)
		}
	}
	return nil
}
