package engine

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"time"

	"github.com/containerd/errdefs"
	ct "github.com/moby/moby/api/types/container"
	et "github.com/moby/moby/api/types/events"
	nt "github.com/moby/moby/api/types/network"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cove-containers/cove/container"
	"github.com/cove-containers/cove/engine/plan"
	"github.com/cove-containers/cove/engine/storage"
	"github.com/cove-containers/cove/image"
	"github.com/cove-containers/cove/logs"
)

// CreateOptions is what a container is to be made from.
type CreateOptions struct {
	// Name is empty for a random one.
	Name       string
	Config     *ct.Config
	HostConfig *ct.HostConfig
	Networking *nt.NetworkingConfig
	// Platform picks one of a multi-platform image; nil is the host's.
	Platform *ocispec.Platform
	// Layer makes the writable layer of this ID, where it is not to be an empty one.
	Layer func(ctx context.Context, id string) error
}

// ContainerCreate makes a container and answers once its record is durable. When it fails nothing is left.
func (e *Engine) ContainerCreate(ctx context.Context, o CreateOptions) (answer ct.CreateResponse, err error) {
	var undo undo
	defer undo.onError(&err)

	if o.Config == nil {
		return answer, errdefs.ErrInvalidArgument.WithMessage("config cannot be empty in order to create a container")
	}
	img, err := e.images.Get(ctx, o.Config.Image, o.Platform)
	if err != nil {
		return answer, err
	}
	if err := e.images.Unpacked(ctx, img); err != nil {
		return answer, err
	}
	c, warnings, err := e.draft(o, img)
	if err != nil {
		return answer, err
	}
	inherited, err := e.inheritedMounts(c)
	if err != nil {
		return answer, err
	}
	mounts, err := plan.Mounts(c.Config, c.HostConfig, inherited)
	if err != nil {
		return answer, err
	}

	if c.Name, err = e.containers.Reserve(c.ID, o.Name); err != nil {
		return answer, err
	}
	undo.push(func() { e.containers.Release(c.ID, c.Name) })

	if o.Layer == nil {
		o.Layer = func(ctx context.Context, id string) error { return e.layers.Create(ctx, id, c.DiffIDs) }
	}
	if err := e.layers.Bound(c.ID, c.HostConfig.StorageOpt); err != nil {
		return answer, err
	}
	undo.push(func() { e.layers.Delete(context.WithoutCancel(ctx), c.ID) })
	if err := o.Layer(ctx, c.ID); err != nil {
		return answer, fmt.Errorf("create writable layer: %w", err)
	}

	dir := c.Dir(e.parts.Config.Root)
	if err := storage.Folder(dir, c.ID); err != nil {
		return answer, err
	}
	undo.push(func() { os.RemoveAll(dir) })

	if err := e.createVolumes(ctx, c, mounts, &undo); err != nil {
		return answer, err
	}
	if err := e.copyUp(ctx, c, mounts); err != nil {
		return answer, err
	}
	if err := e.containers.Create(c); err != nil {
		return answer, err
	}
	storage.Spare(dir)
	e.keepAddresses(c)
	e.event(c, et.ActionCreate)
	return ct.CreateResponse{ID: c.ID, Warnings: warnings}, nil
}

// draft is the record of a container as the request and the image would have it, checked.
func (e *Engine) draft(o CreateOptions, img *image.Image) (*container.Container, []string, error) {
	config := plan.Merge(o.Config, plan.ImageSettings(img.Config.Config))
	host := plan.CompleteHost(o.HostConfig, e.config())
	if host.NetworkMode.IsContainer() {
		// What the image exposes is no wish of the user's: in another container's network it means nothing.
		config.ExposedPorts = maps.Clone(o.Config.ExposedPorts)
	}
	warnings, err := plan.Validate(config, host, e.machine())
	if err != nil {
		return nil, nil, err
	}
	if p := img.Config.Platform; o.Platform == nil && p.Architecture != "" && p.Architecture != runtime.GOARCH {
		warnings = append(warnings, fmt.Sprintf("The requested image's platform (%s/%s) does not match the detected host platform (linux/%s) and no specific platform was requested", p.OS, p.Architecture, runtime.GOARCH))
	}
	if err := logs.ValidateOptions(host.LogConfig.Type, host.LogConfig.Config); err != nil {
		return nil, nil, err
	}
	if e.forwarding != nil {
		if err := e.forwarding.Validate(host.LogConfig.Type, host.LogConfig.Config); err != nil {
			return nil, nil, err
		}
	}
	config.ExposedPorts = plan.Exposed(config, host.PortBindings)
	program, args, _ := plan.Command(config)
	c := &container.Container{
		ID: newID(), Created: time.Now().UTC(), Path: program, Args: args,
		Config: config, HostConfig: host,
		Image: img.ID, Manifest: &img.Manifest, Platform: img.Config.Platform, DiffIDs: img.DiffIDs,
		State: container.State{Status: ct.StateCreated},
	}
	if c.Wished, err = e.wishedEndpoints(host.NetworkMode, o.Networking); err != nil {
		return nil, nil, err
	}
	c.Networks = c.Wished
	nameHost(c)
	if _, err := e.etc.Linked(c, false); err != nil {
		return nil, nil, err
	}
	if err := e.networks.Validate(e.NetworkRequest(c)); err != nil {
		return nil, nil, err
	}
	if host.LogConfig.Type == logs.JSONFile {
		c.LogPath = logFile(e.parts.Config.Root, c)
	}
	return c, warnings, nil
}

// wishedEndpoints are the endpoints of the request by the names of their networks, at least the one of the network mode.
func (e *Engine) wishedEndpoints(mode ct.NetworkMode, networking *nt.NetworkingConfig) (map[string]*nt.EndpointSettings, error) {
	out := map[string]*nt.EndpointSettings{}
	if networking != nil {
		for name, wish := range networking.EndpointsConfig {
			if wish == nil {
				return nil, errdefs.ErrInvalidArgument.WithMessage("invalid config for network " + name + ": EndpointsConfig is nil")
			}
			out[e.networks.Called(name)] = wish.Copy()
		}
	}
	if mode.IsContainer() {
		if len(out) > 0 {
			return nil, errdefs.ErrInvalidArgument.WithMessage("container sharing network namespace with another container or host cannot be connected to any other network")
		}
		return out, nil
	}
	if first := e.networks.Called(string(mode)); out[first] == nil {
		out[first] = &nt.EndpointSettings{}
	}
	return out, nil
}

// nameHost gives the container the host name it has without -h: its short ID, or the host's where it shares its name.
func nameHost(c *container.Container) {
	switch {
	case c.Config.Hostname != "" || c.HostConfig.NetworkMode.IsContainer():
	case c.HostConfig.NetworkMode.IsHost() || c.HostConfig.UTSMode.IsHost():
		c.Config.Hostname, _ = os.Hostname()
	default:
		c.Config.Hostname = c.ShortID()
	}
}

// newID makes 64 hex digits whose first 12 are not a number, which tools would take for a process.
func newID() string {
	for {
		raw := make([]byte, 32)
		rand.Read(raw)
		id := hex.EncodeToString(raw)
		if _, err := strconv.ParseInt(id[:12], 10, 64); err != nil {
			return id
		}
	}
}

// logFile is where the container's log driver writes.
func logFile(root string, c *container.Container) string {
	if driver, _ := logs.Kept(c.HostConfig.LogConfig.Type, nil); driver == logs.Local {
		return filepath.Join(c.Dir(root), "local.log")
	}
	return filepath.Join(c.Dir(root), c.ID+"-json.log")
}
