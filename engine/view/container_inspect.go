package view

import (
	"cmp"
	"context"
	"path/filepath"
	"strconv"
	"time"

	ct "github.com/moby/moby/api/types/container"
	nt "github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/storage"

	"github.com/cove-containers/cove/api"
	"github.com/cove-containers/cove/container"
	"github.com/cove-containers/cove/engine/plan"
	"github.com/cove-containers/cove/spec"
)

// ContainerInspect returns everything about a container; size finds out how much it has written too.
func (v *View) ContainerInspect(ctx context.Context, ref string, size bool) (api.Container, error) {
	c, err := v.parts.Containers.Get(ref)
	if err != nil {
		return api.Container{}, err
	}
	dir := c.Dir(v.parts.Settings().Root)
	r := ct.InspectResponse{
		ID: c.ID, Created: c.Created.UTC().Format(time.RFC3339Nano), Path: c.Path, Args: c.Args, State: c.State.API(),
		Image: c.Image.String(), Name: "/" + c.Name, RestartCount: c.RestartCount, LogPath: c.LogPath,
		Driver: api.StorageDriver, Platform: "linux",
		Storage:    &storage.Storage{RootFS: &storage.RootFSStorage{Snapshot: &storage.RootFSStorageSnapshot{Name: api.StorageDriver}}},
		HostConfig: c.HostConfig, Config: c.Config, Mounts: plan.MountPoints(c),
		AppArmorProfile:         v.confinement(c),
		ImageManifestDescriptor: c.Manifest,
		NetworkSettings:         v.networkSettings(c),
	}
	if c.Started {
		r.HostsPath = filepath.Join(dir, "hosts")
		r.HostnamePath = filepath.Join(dir, "hostname")
		r.ResolvConfPath = filepath.Join(dir, "resolv.conf")
	}
	if r.Args == nil {
		r.Args = []string{}
	}
	if ids := v.parts.ExecIDs(c.ID); len(ids) > 0 {
		r.ExecIDs = ids
	}
	if size {
		written, whole := v.sizes(c)
		r.SizeRw, r.SizeRootFs = &written, &whole
	}
	return api.Container{InspectResponse: r, WishedMAC: v.wishedMAC(c)}, nil
}

// confinement is the AppArmor profile that c has.
func (v *View) confinement(c *container.Container) string {
	opts, err := spec.ParseSecurity(c.HostConfig.SecurityOpt)
	if err != nil || !v.parts.Settings().AppArmor {
		return ""
	}
	return cmp.Or(opts.Confinement(c.HostConfig.Privileged), spec.AppArmorDefault)
}

func (v *View) wishedMAC(c *container.Container) nt.HardwareAddr {
	if wish := c.Wished[v.parts.Networks.Called(string(c.HostConfig.NetworkMode))]; wish != nil {
		return wish.MacAddress
	}
	return nil
}

func (v *View) networkSettings(c *container.Container) *ct.NetworkSettings {
	n := &ct.NetworkSettings{SandboxID: c.SandboxID, Ports: c.Ports, Networks: v.endpoints(c)}
	if n.Ports == nil {
		n.Ports = nt.PortMap{}
	}
	if c.State.Alive() {
		n.SandboxKey = "/proc/" + strconv.Itoa(c.State.Pid) + "/ns/net"
	}
	return n
}
