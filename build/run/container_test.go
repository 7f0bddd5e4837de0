package run

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"syscall"
	"testing"
	"time"

	gwclient "github.com/moby/buildkit/frontend/gateway/client"
	gateway "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/solver/pb"

	"github.com/cove-containers/cove/build/step"
)

// sink takes output.
type sink struct{ bytes.Buffer }

func (*sink) Close() error { return nil }

func (k *kit) container(ctx context.Context) gwclient.Container {
	k.t.Helper()
	c, err := k.NewContainer(ctx, k.env, gwclient.NewContainerRequest{
		Mounts: []gwclient.Mount{{Dest: "/"}}, NetMode: pb.NetMode_NONE,
	}, map[int]step.Ref{0: {Pile: k.base}})
	if err != nil {
		k.t.Fatal(err)
	}
	k.t.Cleanup(func() { _ = c.Release(context.Background()) })
	return c
}

func TestContainer(t *testing.T) {
	k := newKit(t, t.TempDir(), false)
	c := k.container(t.Context())
	if raw, err := c.ReadFile(t.Context(), gwclient.ReadContainerRequest{ReadRequest: gwclient.ReadRequest{Filename: "/etc/passwd"}}); err != nil || !bytes.HasPrefix(raw, []byte("root:")) {
		t.Errorf("%q, %v", raw, err)
	}
	first, err := c.Start(t.Context(), gwclient.StartRequest{Args: []string{"sleep", "1000"}})
	if err != nil {
		t.Fatal(err)
	}
	var out, bad sink
	second, err := c.Start(t.Context(), gwclient.StartRequest{
		Args: []string{"sh", "-c", "cat; echo $B; echo bad >&2; echo 1 >/new; exit 5"}, Env: []string{"B=c"},
		Stdin: io.NopCloser(strings.NewReader("in\n")), Stdout: &out, Stderr: &bad,
	})
	if err != nil {
		t.Fatal(err)
	}
	var exit *gateway.ExitError
	if err := second.Wait(); !errors.As(err, &exit) || exit.ExitCode != 5 || out.String() != "in\nc\n" || bad.String() != "bad\n" {
		t.Error(err, out.String(), bad.String())
	}
	if raw, err := c.ReadFile(t.Context(), gwclient.ReadContainerRequest{ReadRequest: gwclient.ReadRequest{Filename: "/new", Range: &gwclient.FileRange{Length: 1}}}); err != nil || string(raw) != "1" {
		t.Errorf("%q, %v", raw, err)
	}
	if list, err := c.ReadDir(t.Context(), gwclient.ReadDirContainerRequest{ReadDirRequest: gwclient.ReadDirRequest{Path: "/home"}}); err != nil || len(list) > 1 {
		t.Error(list, err)
	}
	if st, err := c.StatFile(t.Context(), gwclient.StatContainerRequest{StatRequest: gwclient.StatRequest{Path: "/new"}}); err != nil || st.Size != 2 || st.Path != "new" {
		t.Error(st, err)
	}
	if _, err := c.StatFile(t.Context(), gwclient.StatContainerRequest{StatRequest: gwclient.StatRequest{Path: "/none"}}); err == nil {
		t.Error("found")
	}
	// A terminal, resized while it runs.
	var screen sink
	third, err := c.Start(t.Context(), gwclient.StartRequest{Args: []string{"sh", "-c", "while [ \"$(stty size 2>/dev/null)\" != '40 90' ]; do sleep .05; done; stty size; echo $TERM"}, Tty: true, Stdout: &screen})
	if err != nil {
		t.Fatal(err)
	}
	if err := third.Resize(t.Context(), gwclient.WinSize{Rows: 40, Cols: 90}); err != nil {
		t.Error(err)
	}
	if err := third.Wait(); err != nil || screen.String() != "40 90\r\nxterm\r\n" {
		t.Errorf("%v %q", err, screen.String())
	}
	if _, err := c.Start(t.Context(), gwclient.StartRequest{Args: []string{"nosuch"}}); err == nil || !strings.Contains(err.Error(), "executable file not found") {
		t.Error(err)
	}
	if err := first.Signal(t.Context(), syscall.SIGKILL); err != nil {
		t.Error(err)
	}
	if err := first.Wait(); !errors.As(err, &exit) || exit.ExitCode != 137 {
		t.Error(err)
	}
	if err := first.Signal(t.Context(), syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	if err := c.Release(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := c.Start(t.Context(), gwclient.StartRequest{Args: []string{"true"}}); err == nil {
		t.Error("started in a released container")
	}
	if built := k.layers.Built(); len(built) > 0 {
		t.Error(built)
	}
	k.nothingLeft()
}

// TestContainerEnds ends a container by the context of whoever made it.
func TestContainerEnds(t *testing.T) {
	k := newKit(t, t.TempDir(), false)
	ctx, cancel := context.WithCancel(t.Context())
	c := k.container(ctx)
	p, err := c.Start(ctx, gwclient.StartRequest{Args: []string{"sleep", "1000"}})
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	cancel()
	if err := p.Wait(); err == nil || time.Since(began) > 10*time.Second {
		t.Error(err)
	}
	if err := c.Release(context.Background()); err != nil {
		t.Error(err)
	}
	k.nothingLeft()
}
