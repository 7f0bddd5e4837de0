package engine

import (
	"context"
	"net/netip"
	"os"

	ct "github.com/moby/moby/api/types/container"
	vt "github.com/moby/moby/api/types/volume"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cove-containers/cove/engine/storage"
	"github.com/cove-containers/cove/image"
	"github.com/cove-containers/cove/layer"
	"github.com/cove-containers/cove/logs"
	"github.com/cove-containers/cove/network"
	"github.com/cove-containers/cove/runtime"
	"github.com/cove-containers/cove/shim"
)

// The recipes of this package see the keepers that touch the kernel through these interfaces, so that a test can
// let any step fail.

// images finds what a container is made from.
type images interface {
	Get(ctx context.Context, ref string, platform *ocispec.Platform) (*image.Image, error)
	Unpacked(ctx context.Context, img *image.Image) error
}

// layers keeps containers' writable layers.
type layers interface {
	Create(ctx context.Context, id string, diffIDs []digest.Digest) error
	Overlay(id string) (lower []string, upper, work string, err error)
	Look(ctx context.Context, id string, see func(root *os.File) error) error
	Stack(ctx context.Context, diffIDs []digest.Digest) ([]string, error)
	layerEnds
}

type layerEnds interface {
	Bound(id string, options map[string]string) error
	Mounted(id string)
	Delete(ctx context.Context, id string) error
	Drop(ctx context.Context, id string) error
	Writable() []string
}

// realLayers is a layer.Store that closes what it shows.
type realLayers struct{ *layer.Store }

// Look shows the merged tree of a writable layer while see runs.
func (l realLayers) Look(ctx context.Context, id string, see func(root *os.File) error) error {
	root, err := l.Root(ctx, id)
	if err != nil {
		return err
	}
	defer root.Close()
	return see(root.Dir)
}

// networks gives containers their network.
type networks interface {
	Join(ctx context.Context, containerID string, req network.Request) (*network.Sandbox, error)
	Leave(containerID string) error
	networkRecords
}

type networkRecords interface {
	Rename(containerID, name string)
	Forget(containerID string)
	Restore(containerID string, was network.Sandbox, req network.Request) error
	Sweep() error
	networkFacts
}

type networkFacts interface {
	Validate(req network.Request) error
	HostGateways() []netip.Addr
	Remember(containerID string, last map[string]netip.Addr)
	Called(ref string) string
}

// volumes keeps volumes and who uses them.
type volumes interface {
	Create(ctx context.Context, req vt.CreateRequest) (vt.Volume, error)
	Remove(ctx context.Context, name string, force bool) error
	CopyUp(ctx context.Context, name string, root *os.File, target string) (bool, error)
	volumeUse
	storage.Volumes
}

type volumeUse interface {
	Get(name string) (vt.Volume, error)
	Use(name, containerID string) error
	Release(name, containerID string)
	Anonymous(name string) bool
	Users(name string) []string
}

// devices are those that vendors describe.
type devices interface {
	Inject(doc *specs.Spec, requests []ct.DeviceRequest) error
	List() []string
	Dirs() []string
}

// forwarding sends logs elsewhere.
type forwarding interface {
	Validate(driver string, options map[string]string) error
	Follow(t logs.Target, ended <-chan struct{})
	Release(id string) error
	Sweep(exists func(id string) bool)
}

// shims starts and finds supervisors.
type shims interface {
	Launch(ctx context.Context, id string) (supervisor, error)
	Reconnect(ctx context.Context, id string) (supervisor, error)
	Leftovers() ([]string, error)
}

// supervisor is one container's process that outlives the daemon.
type supervisor interface {
	Create(ctx context.Context, cfg shim.Config) (pid int, err error)
	Start(ctx context.Context) error
	Wait(ctx context.Context) (shim.Exit, error)
	supervised
	execs
}

type supervised interface {
	Pid() int
	Started() bool
	Kill(ctx context.Context, signal int, all bool) error
	Resize(ctx context.Context, proc string, width, height uint16) error
	endings
}

type endings interface {
	Checkpoint(ctx context.Context, o runtime.CheckpointOptions) error
	Attach(ctx context.Context, proc string, o shim.AttachOptions) (Conn, error)
	Delete(ctx context.Context) error
	Keep(ctx context.Context, name string, file *os.File) error
	Kept(ctx context.Context, name string) (*os.File, error)
}

// execs is a supervisor's side of further processes in its container.
type execs interface {
	Exec(ctx context.Context, execID string, cfg shim.ExecConfig) error
	ExecStart(ctx context.Context, execID string) (pid int, err error)
	ExecWait(ctx context.Context, execID string) (shim.Exit, error)
	ExecDelete(ctx context.Context, execID string) error
	execLookup
}

type execLookup interface {
	ExecKill(ctx context.Context, execID string) error
	Execs(ctx context.Context) ([]shim.ExecState, error)
}

// realShims lets a shim.Keeper answer in terms of these interfaces.
type realShims struct{ *shim.Keeper }

// Launch is shim.Keeper.Launch.
func (k realShims) Launch(ctx context.Context, id string) (supervisor, error) {
	s, err := k.Keeper.Launch(ctx, id)
	if err != nil {
		return nil, err
	}
	return realShim{s}, nil
}

// Reconnect is shim.Keeper.Reconnect.
func (k realShims) Reconnect(ctx context.Context, id string) (supervisor, error) {
	s, err := k.Keeper.Reconnect(ctx, id)
	if err != nil {
		return nil, err
	}
	return realShim{s}, nil
}

type realShim struct{ *shim.Shim }

// Attach is shim.Shim.Attach.
func (s realShim) Attach(ctx context.Context, proc string, o shim.AttachOptions) (Conn, error) {
	stream, err := s.Shim.Attach(ctx, proc, o)
	if err != nil {
		return nil, err
	}
	return stream, nil
}
