package endpoint

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	ct "github.com/moby/moby/api/types/container"
	et "github.com/moby/moby/api/types/events"
	nt "github.com/moby/moby/api/types/network"

	"github.com/cove-containers/cove/api"
	"github.com/cove-containers/cove/container"
	"github.com/cove-containers/cove/network"
	"github.com/cove-containers/cove/state"
)

// fakeNetworks note what is asked of them.
type fakeNetworks struct{ did []string }

func (f *fakeNetworks) Inspect(ref string) (nt.Inspect, error) {
	return nt.Inspect{Network: nt.Network{Name: ref, ID: ref}}, nil
}
func (f *fakeNetworks) Validate(network.Request) error { return nil }
func (f *fakeNetworks) Connect(_ context.Context, _, ref string, _ network.Request) (*network.Sandbox, error) {
	f.did = append(f.did, "connect "+ref)
	return &network.Sandbox{}, nil
}
func (f *fakeNetworks) Disconnect(_ context.Context, _, ref string, _ network.Request) (*network.Sandbox, error) {
	f.did = append(f.did, "disconnect "+ref)
	return &network.Sandbox{}, nil
}
func (f *fakeNetworks) Republish(_ string, req network.Request) (nt.PortMap, error) {
	text := []string{"publish"}
	for p := range req.Ports {
		text = append(text, p.String())
	}
	f.did = append(f.did, strings.Join(text, " "))
	return req.Ports, nil
}

type fakeRun struct{}

func (fakeRun) NetworkRequest(c *container.Container) network.Request {
	return network.Request{Name: c.Name, Networks: c.Wished, Ports: c.HostConfig.PortBindings}
}
func (fakeRun) WriteNames(*container.Container, *network.Sandbox) error   { return nil }
func (fakeRun) KeepNames(context.Context, string, *network.Sockets) error { return nil }

// TestWhatCannotBeRecordedIsUndone: with a database that takes nothing any more the kernel is as it was, and so is the record.
func TestWhatCannotBeRecordedIsUndone(t *testing.T) {
	ctx := context.Background()
	db, err := state.Open(filepath.Join(t.TempDir(), "cove.db"))
	if err != nil {
		t.Fatal(err)
	}
	store, err := container.Open(db)
	if err != nil {
		t.Fatal(err)
	}
	c := &container.Container{
		ID: strings.Repeat("a", 64), Name: "web", Config: &ct.Config{}, HostConfig: &ct.HostConfig{NetworkMode: "n"},
		Wished: map[string]*nt.EndpointSettings{"n": {}}, State: container.State{Status: ct.StateRunning, Pid: os.Getpid()},
	}
	if _, err := store.Reserve(c.ID, c.Name); err != nil {
		t.Fatal(err)
	}
	if err := store.Create(c); err != nil {
		t.Fatal(err)
	}
	nets := &fakeNetworks{}
	d := New(Parts{Containers: store, Networks: nets, Run: fakeRun{}, Tell: func(et.Message) {}})
	eighty := api.PortChange{Ports: nt.PortMap{nt.MustParsePort("80/tcp"): {{HostPort: "8080"}}}}
	if err := d.AddPorts(ctx, "web", eighty); err != nil {
		t.Fatal(err)
	}
	if err := d.AddPorts(ctx, "web", eighty); !errdefs.IsConflict(err) {
		t.Errorf("the same again: %v", err)
	}
	nets.did = nil
	db.Close()
	for _, tc := range []struct {
		do   func() error
		want string
	}{
		{func() error { return d.Connect(ctx, "m", "web", nil) }, "connect m, disconnect m"},
		{func() error { return d.Disconnect(ctx, "n", "web", false) }, "disconnect n, connect n"},
		{func() error { return d.RemovePorts(ctx, "web", eighty) }, "publish, publish 80/tcp"},
		{func() error {
			return d.AddPorts(ctx, "web", api.PortChange{Ports: nt.PortMap{nt.MustParsePort("81/tcp"): nil}})
		}, "publish 80/tcp 81/tcp, publish 80/tcp"},
	} {
		nets.did = nil
		err := tc.do()
		got := strings.ReplaceAll(strings.Join(nets.did, ", "), "81/tcp 80/tcp", "80/tcp 81/tcp")
		if err == nil || got != tc.want {
			t.Errorf("%s, want %s: %v", got, tc.want, err)
		}
	}
	now, err := store.Get("web")
	if err != nil || len(now.Wished) != 1 || len(now.HostConfig.PortBindings) != 1 {
		t.Errorf("%+v %v", now, err)
	}
}
