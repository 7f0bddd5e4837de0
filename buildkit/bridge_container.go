package buildkit

import (
	"context"
	"fmt"

	"github.com/containerd/errdefs"
	gwclient "github.com/moby/buildkit/frontend/gateway/client"
	gateway "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/solver/pb"
)

// room is a container that a client has opened on results of its build, to look around in or to run something.
type room struct {
	gwclient.Container
	cancel context.CancelFunc
}

func (r *room) release() error {
	defer r.cancel()
	return r.Release(context.Background())
}

// NewContainer opens a container. It lives until it is released or its build ends.
func (s *bridgeServer) NewContainer(ctx context.Context, r *gateway.NewContainerRequest) (*gateway.NewContainerResponse, error) {
	b, err := s.build(ctx)
	if err != nil {
		return nil, err
	}
	wish := gwclient.NewContainerRequest{
		Hostname: r.Hostname, NetMode: r.Network, ExtraHosts: r.ExtraHosts, Platform: r.Platform, Constraints: r.Constraints,
	}
	if wish.Mounts, err = b.mounts(r.Mounts); err != nil {
		return nil, err
	}
	lasting, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, cancel) // while it is made
	opened, err := b.client.NewContainer(lasting, wish)
	if err != nil {
		cancel()
		return nil, err
	}
	made := &room{Container: opened, cancel: cancel}
	if !stop() {
		_ = made.release()
		return nil, context.Cause(ctx)
	}
	if err := b.keep(r.ContainerID, made); err != nil {
		_ = made.release()
		return nil, err
	}
	return &gateway.NewContainerResponse{}, nil
}

func (b *steering) mounts(list []*pb.Mount) ([]gwclient.Mount, error) {
	var out []gwclient.Mount
	root := false
	for i, m := range list {
		if m == nil {
			return nil, errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("mount %d is missing", i))
		}
		if m.MountType == pb.MountType_SSH && m.SSHOpt == nil {
			return nil, errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("SSH mount %q requires options", m.Dest))
		}
		root = root || m.Dest == pb.RootMount
		ref, err := b.ref(m.ResultID)
		if err != nil && !errdefs.IsNotFound(err) { // a name that it does not know is perhaps one out of an error
			return nil, fmt.Errorf("mount %q: %w", m.Dest, err)
		}
		out = append(out, gwclient.Mount{
			Selector: m.Selector, Dest: m.Dest, ResultID: m.ResultID, Ref: ref, Readonly: m.Readonly,
			MountType: m.MountType, CacheOpt: m.CacheOpt, SecretOpt: m.SecretOpt, SSHOpt: m.SSHOpt,
		})
	}
	if !root {
		return nil, errdefs.ErrInvalidArgument.WithMessage("root mount is required")
	}
	return out, nil
}

func (b *steering) keep(id string, r *room) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.containers == nil:
		return errdefs.ErrUnavailable.WithMessage("the build has ended")
	case b.containers[id] != nil:
		return errdefs.ErrAlreadyExists.WithMessage("container " + id + " already exists")
	}
	b.containers[id] = r
	return nil
}

func (b *steering) container(id string) (*room, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.containers[id]
	if r == nil {
		return nil, errdefs.ErrNotFound.WithMessage(fmt.Sprintf("container %q previously released or not created", id))
	}
	return r, nil
}

// ReleaseContainer ends a container and all that runs in it.
func (s *bridgeServer) ReleaseContainer(ctx context.Context, r *gateway.ReleaseContainerRequest) (*gateway.ReleaseContainerResponse, error) {
	b, err := s.build(ctx)
	if err != nil {
		return nil, err
	}
	known, err := b.container(r.ContainerID)
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	delete(b.containers, r.ContainerID)
	b.mu.Unlock()
	return &gateway.ReleaseContainerResponse{}, known.release()
}

// ReadFileContainer reads a file of a container's mount.
func (s *bridgeServer) ReadFileContainer(ctx context.Context, r *gateway.ReadFileRequest) (*gateway.ReadFileResponse, error) {
	c, err := s.container(ctx, r.Ref)
	if err != nil {
		return nil, err
	}
	data, err := c.ReadFile(ctx, gwclient.ReadContainerRequest{ReadRequest: readRequest(r), MountIndex: int(r.MountIndex)})
	if err != nil {
		return nil, err
	}
	return &gateway.ReadFileResponse{Data: data}, nil
}

// ReadDirContainer lists a folder of a container's mount.
func (s *bridgeServer) ReadDirContainer(ctx context.Context, r *gateway.ReadDirRequest) (*gateway.ReadDirResponse, error) {
	c, err := s.container(ctx, r.Ref)
	if err != nil {
		return nil, err
	}
	entries, err := c.ReadDir(ctx, gwclient.ReadDirContainerRequest{
		ReadDirRequest: gwclient.ReadDirRequest{Path: r.DirPath, IncludePattern: r.IncludePattern}, MountIndex: int(r.MountIndex),
	})
	if err != nil {
		return nil, err
	}
	return &gateway.ReadDirResponse{Entries: entries}, nil
}

// StatFileContainer tells of one file of a container's mount.
func (s *bridgeServer) StatFileContainer(ctx context.Context, r *gateway.StatFileRequest) (*gateway.StatFileResponse, error) {
	c, err := s.container(ctx, r.Ref)
	if err != nil {
		return nil, err
	}
	stat, err := c.StatFile(ctx, gwclient.StatContainerRequest{StatRequest: gwclient.StatRequest{Path: r.Path}, MountIndex: int(r.MountIndex)})
	if err != nil {
		return nil, err
	}
	return &gateway.StatFileResponse{Stat: stat}, nil
}

func (s *bridgeServer) container(ctx context.Context, id string) (*room, error) {
	b, err := s.build(ctx)
	if err != nil {
		return nil, err
	}
	return b.container(id)
}
