package build

import (
	"context"
	"errors"
	"testing"

	"github.com/containerd/errdefs"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/solver/pb"

	"github.com/cove-containers/cove/build/run"
	"github.com/cove-containers/cove/build/step"
)

// rooms makes containers in which every process can be started.
type rooms struct{ gateway.Container }

func (r rooms) NewContainer(context.Context, *step.Env, gateway.NewContainerRequest, map[int]step.Ref) (gateway.Container, error) {
	return r, nil
}

func (rooms) Start(context.Context, gateway.StartRequest) (gateway.ContainerProcess, error) {
	return nil, nil
}

// TestEntitlements: what a build was not granted it gets on no other way either.
func TestEntitlements(t *testing.T) {
	k := newKit(t, func(p *Parts) { p.Containers = rooms{} })
	for name, c := range map[string]struct {
		options map[string]string
		room    gateway.NewContainerRequest
		process gateway.StartRequest
		lacks   string
	}{
		"nothing special":                       {},
		"the host's network for a container":    {room: gateway.NewContainerRequest{NetMode: pb.NetMode_HOST}, lacks: run.NetworkHost},
		"a process with all rights":             {process: gateway.StartRequest{SecurityMode: pb.SecurityMode_INSECURE}, lacks: run.SecurityInsecure},
		"the host's network by a limit of RUN":  {options: map[string]string{"run:network": "host"}, lacks: run.NetworkHost},
		"another network than all others by it": {options: map[string]string{"run:network": "n"}},
	} {
		try := func(granted ...string) error {
			_, err := k.builder.Solve(t.Context(), Request{
				Options: c.options, Entitlements: granted,
				Front: func(ctx context.Context, front gateway.Client) (*gateway.Result, error) {
					room, err := front.NewContainer(ctx, c.room)
					if err == nil {
						_, err = room.Start(ctx, c.process)
					}
					return gateway.NewResult(), err
				},
			})
			return err
		}
		if err := try(); errors.Is(err, errdefs.ErrPermissionDenied) != (c.lacks != "") || c.lacks == "" && err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if c.lacks == "" {
			continue
		}
		if err := try(c.lacks); err != nil {
			t.Errorf("%s, granted: %v", name, err)
		}
	}
}
