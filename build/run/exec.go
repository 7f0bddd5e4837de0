package run

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"

	gateway "github.com/moby/buildkit/frontend/gateway/pb"

	"github.com/cove-containers/cove/archive"
	"github.com/cove-containers/cove/build/step"
	"github.com/cove-containers/cove/runtime"
	"github.com/cove-containers/cove/shim"
	"github.com/cove-containers/cove/sys"
)

// Run runs the command and makes layers of what it has changed.
func (o *operation) Run(ctx context.Context, env *step.Env, in []step.Ref) (_ step.Outcome, err error) {
	if err := supported(o.platform()); err != nil {
		return step.Outcome{}, err
	}
	meta := o.exec.Meta
	b := o.runner.box(env, env.Lease.Name(), "exec "+strings.Join(meta.Args, " "))
	b.fresh = o.vertex.NoCache
	b.extraHosts, b.ulimits, b.cgroupParent, b.devices = meta.ExtraHosts, meta.Ulimit, meta.CgroupParent, o.exec.CdiDevices
	if meta.Hostname != "" {
		b.hostname = meta.Hostname
	}
	client := ""
	if env.Limits != nil {
		client = env.Limits.NetworkMode
		b.extraHosts = append(slices.Clone(b.extraHosts), clientHosts(env.Limits.ExtraHosts)...)
	}
	network := networkMode(o.exec.Network, client)
	if err := o.runner.permit(network, insecure(o.exec.Security)); err != nil {
		return step.Outcome{}, err
	}
	defer func() {
		if failed := b.close(); failed != nil && err == nil {
			err = failed
		}
	}()
	if err := b.prepare(ctx, o.exec.Mounts, in, meta.Cwd); err != nil {
		return step.Outcome{}, err
	}
	hidden, err := secretEnv(ctx, env, o.exec.Secretenv)
	if err != nil {
		return step.Outcome{}, err
	}
	if err := b.join(ctx, network); err != nil {
		return step.Outcome{}, err
	}
	c := command{
		args: meta.Args, cwd: meta.Cwd, user: meta.User, insecure: insecure(o.exec.Security),
		env: slices.Concat(withDefault(append(slices.Clone(meta.Env), proxies(meta.ProxyEnv)...), defaultPath), hidden),
	}
	stubs, err := b.runOnce(ctx, c, meta.ValidExitCodes)
	if err != nil {
		if missing := supportedNow(o.platform()); missing != nil { // its emulator is gone
			return step.Outcome{}, missing
		}
		return step.Outcome{}, b.failed(ctx, o.exec.Mounts, in, stubs, err)
	}
	return b.finish(ctx, stubs)
}

// runOnce runs the one process of a step to its end, and tells what was made to mount on.
func (b *box) runOnce(ctx context.Context, c command, valid []int32) ([]runtime.Stub, error) {
	out, err := b.outputStreams()
	if err != nil {
		return nil, err
	}
	running, err := b.start(ctx, c, [3]*os.File{nil, out.ends[0], out.ends[1]}, shim.StepConfig{})
	out.release()
	if err != nil {
		out.wait()
		return nil, notStarted(ctx, c, err)
	}
	exit, waitErr := running.Wait(ctx)
	if err := running.Close(); err != nil && waitErr == nil {
		waitErr = err
	}
	out.wait()
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case waitErr != nil:
		return nil, waitErr
	}
	return running.Stubs, verdict(c, exit, valid)
}

// streams are a process's output on its way to the clients.
type streams struct {
	ends [2]*os.File // the process's
	busy sync.WaitGroup
}

func (s *streams) release() {
	for _, f := range s.ends {
		if f != nil {
			f.Close()
		}
	}
}

func (s *streams) wait() { s.busy.Wait() }

// outputSize is how much of its output a process need not wait with until it has been taken.
const outputSize = 64 << 10

func (b *box) outputStreams() (*streams, error) {
	s := &streams{}
	for n := range s.ends {
		ours, theirs, err := sys.ReadPipe(outputSize)
		if err != nil {
			s.release()
			return nil, fmt.Errorf("make output streams: %w", err)
		}
		s.ends[n] = theirs
		s.busy.Go(func() {
			defer ours.Close()
			buf := make([]byte, 32<<10)
			for {
				k, err := ours.Read(buf)
				if k > 0 && b.env.Out != nil {
					b.env.Out(n+1, slices.Clone(buf[:k]))
				}
				if err != nil {
					return
				}
			}
		})
	}
	return s, nil
}

// notStarted is the error of a process that never came to run.
func notStarted(ctx context.Context, c command, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var start *runtime.StartError
	code := uint32(gateway.UnknownExitStatus)
	if errors.As(err, &start) && start.Code != 0 {
		code = uint32(start.Code)
	}
	return unsuccessful(c, &gateway.ExitError{ExitCode: code, Err: err})
}

// verdict is the error of a process that ended otherwise than it should.
func verdict(c command, exit shim.Exit, valid []int32) error {
	if len(valid) == 0 && exit.Code == 0 || slices.Contains(valid, int32(exit.Code)) {
		return nil
	}
	failed := &gateway.ExitError{ExitCode: uint32(exit.Code)}
	switch {
	case exit.OOMKilled:
		failed.Err = fmt.Errorf("exit code: %d: the kernel killed it for want of memory: %w", exit.Code, syscall.ENOMEM)
	case exit.Error != "":
		failed.Err = errors.New(exit.Error)
	}
	return unsuccessful(c, failed)
}

// unsuccessful has the words that clients look for.
func unsuccessful(c command, err error) error {
	return fmt.Errorf("process %q did not complete successfully: %w", strings.Join(c.args, " "), err)
}

// finish makes layers of what was written, without what was made to mount on, when everything is unmounted.
func (b *box) finish(ctx context.Context, stubs []runtime.Stub) (step.Outcome, error) {
	b.unstub(stubs)
	if err := b.close(); err != nil {
		return step.Outcome{}, err
	}
	for _, w := range b.written {
		if w.root && len(stubs) > 0 && len(w.below) > 0 {
			if err := b.forgetCopied(w, stubs); err != nil {
				return step.Outcome{}, err
			}
		}
		if _, err := b.runner.parts.Layers.Seal(ctx, w.name); err != nil {
			return step.Outcome{}, err
		}
	}
	return step.Outcome{Refs: inOrder(b.outputs)}, nil
}

// inOrder puts what the mounts give where their indices say. Where these leave gaps, or name a place twice, what counts is the order of
// the mounts, as with BuildKit.
func inOrder(outputs []output) []step.Ref {
	refs, taken := make([]step.Ref, len(outputs)), make([]bool, len(outputs))
	for _, o := range outputs {
		if o.index < 0 || o.index >= int64(len(refs)) || taken[o.index] {
			for i, o := range outputs {
				refs[i] = step.Ref{Pile: o.pile}
			}
			return refs
		}
		refs[o.index], taken[o.index] = step.Ref{Pile: o.pile}, true
	}
	return refs
}

func copyTree(ctx context.Context, to, from *os.File) error {
	return archive.CopyTree(ctx, to, from, archive.CopyOptions{Root: true})
}
