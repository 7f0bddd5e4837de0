package buildkit

import (
	"context"
	"io"
	"syscall"
	"testing"

	gwclient "github.com/moby/buildkit/frontend/gateway/client"
	gateway "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/solver/pb"
)

// deaf is a container, and the process in it, which reads nothing and ends when it is killed.
type deaf struct {
	gwclient.Container
	killed chan struct{}
}

func (d *deaf) Start(context.Context, gwclient.StartRequest) (gwclient.ContainerProcess, error) {
	return d, nil
}

func (d *deaf) Wait() error {
	<-d.killed
	return nil
}

func (d *deaf) Signal(_ context.Context, sig syscall.Signal) error {
	if sig == syscall.SIGKILL {
		close(d.killed)
	}
	return nil
}

func (*deaf) Resize(context.Context, gwclient.WinSize) error { return nil }

// listening is a client's end of a stream.
type listening struct {
	gateway.LLBBridge_ExecProcessServer
}

func (listening) Send(*gateway.ExecMessage) error { return nil }

// TestProcessWhoseClientHasGone is ended, though it does not take what it was sent.
func TestProcessWhoseClientHasGone(t *testing.T) {
	in := &deaf{killed: make(chan struct{})}
	all := &processes{build: &steering{containers: map[string]*room{"c": {Container: in}}}, byID: map[string]*process{}, stream: listening{}}
	ctx, cancel := context.WithCancel(t.Context())
	init := &gateway.InitMessage{ContainerID: "c", Meta: &pb.Meta{Args: []string{"x"}}, Fds: []uint32{0}}
	if err := all.start(ctx, "p", init); err != nil {
		t.Fatal(err)
	}
	fed := make(chan error, 1)
	go func() { fed <- all.byID["p"].feed(&gateway.FdMessage{Data: []byte("hello")}) }()
	cancel()
	all.running.Wait()
	if err := <-fed; err != nil && err != io.ErrClosedPipe {
		t.Error(err)
	}
}
