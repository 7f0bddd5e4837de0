package test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	solveerrors "github.com/moby/buildkit/solver/errdefs"
	"github.com/moby/buildkit/solver/pb"
)

// TestFailedStep goes into a step that has failed, as debuggers do: on what it began with and on what it left, by the names
// that the error has for them. When the build is over nothing of it is left.
func TestFailedStep(t *testing.T) {
	b := newBuilder(t)
	c, err := client.New(t.Context(), b.Socket())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	beside := llb.Scratch().File(llb.Mkfile("/given", 0o644, []byte("given")))
	run := llb.Image("busybox").Run(
		llb.Shlex(`sh -c "echo left >/left; rm /etc/group; echo more >/beside/more; touch /forgotten/x; exit 5"`),
		llb.AddMount("/scratch", llb.Scratch(), llb.Tmpfs()),
		llb.AddMount("/read", beside, llb.Readonly),
		llb.AddMount("/forgotten", beside, llb.ForceNoOutput),
	)
	run.AddMount("/beside", beside)
	definition, err := run.Root().Marshal(t.Context(), llb.LinuxAmd64)
	if err != nil {
		t.Fatal(err)
	}
	const look = "cat /left; ls /etc/group; cat /beside/more /beside/given /read/given; ls /forgotten /scratch"
	for _, eagerly := range []bool{true, false} {
		_, err = c.Build(t.Context(), client.SolveOpt{}, "", func(ctx context.Context, g gateway.Client) (*gateway.Result, error) {
			res, err := g.Solve(ctx, gateway.SolveRequest{Definition: definition.ToPB(), Evaluate: eagerly})
			if !eagerly && err == nil {
				err = res.Ref.Evaluate(ctx)
			}
			var failed *solveerrors.SolveError
			if !errors.As(err, &failed) {
				return nil, fmt.Errorf("no error of a step: %w", err)
			}
			exec := failed.Op.GetExec()
			if len(failed.InputIDs) != len(exec.GetMounts()) || len(failed.MountIDs) != len(failed.InputIDs) {
				return nil, fmt.Errorf("%d mounts: %d before, %d after", len(exec.GetMounts()), len(failed.InputIDs), len(failed.MountIDs))
			}
			if out := lookInto(ctx, g, exec, failed.MountIDs, look); out != "left\nls: /etc/group: No such file or directory\nmore\ngivengiven/forgotten:\ngiven\n\n/scratch:\n" {
				t.Errorf("what it left: %q", out)
			}
			if out := lookInto(ctx, g, exec, failed.InputIDs, look); out != "cat: can't open '/left': No such file or directory\n/etc/group\ncat: can't open '/beside/more': No such file or directory\ngivengiven/forgotten:\ngiven\n\n/scratch:\n" {
				t.Errorf("what it began with: %q", out)
			}
			_, err = g.NewContainer(ctx, gateway.NewContainerRequest{Mounts: []gateway.Mount{{Dest: "/", ResultID: "nothing", MountType: pb.MountType_BIND}}})
			if err == nil || !strings.Contains(err.Error(), "no such ref: nothing") {
				t.Errorf("a name that nothing has: %v", err)
			}
			return nil, failed
		}, nil)
		if err == nil || !strings.Contains(err.Error(), "exit code: 5") {
			t.Errorf("%v", err)
		}
	}
	if du := b.cove("builder", "du"); strings.Contains(du, "exit 5") {
		t.Errorf("the failed step is in the cache:\n%s", du)
	}
	b.cove("builder", "prune", "-af")
	b.cove("system", "check")
}

// lookInto runs a script on the mounts of a failed step, as they were or became, and tells what it prints, or what went wrong.
func lookInto(ctx context.Context, g gateway.Client, exec *pb.ExecOp, ids []string, script string) string {
	var mounts []gateway.Mount
	for i, m := range exec.GetMounts() {
		mounts = append(mounts, gateway.Mount{Selector: m.Selector, Dest: m.Dest, ResultID: ids[i], Readonly: m.Readonly, MountType: m.MountType})
	}
	room, err := g.NewContainer(ctx, gateway.NewContainerRequest{Mounts: mounts, NetMode: exec.Network})
	if err != nil {
		return err.Error()
	}
	var out bytes.Buffer
	both := nopWriteCloser{&out}
	process, err := room.Start(ctx, gateway.StartRequest{Args: []string{"sh", "-c", "exec 2>&1; " + script}, Env: exec.Meta.Env, Cwd: exec.Meta.Cwd, Stdout: both, Stderr: both})
	if err == nil {
		err = process.Wait()
	}
	if err = errors.Join(err, room.Release(ctx)); err != nil {
		return out.String() + err.Error()
	}
	return out.String()
}

type nopWriteCloser struct{ io.Writer }

func (nopWriteCloser) Close() error { return nil }
