package run

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"syscall"

	"github.com/containerd/errdefs"
	gwclient "github.com/moby/buildkit/frontend/gateway/client"
	gateway "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/tonistiigi/fsutil/types"

	"github.com/cove-containers/cove/build/step"
	"github.com/cove-containers/cove/shim"
	"github.com/cove-containers/cove/spec"
)

// NewContainer makes a container that processes can be started in: by front ends, and by whoever looks into a build. refs are
// the file systems of those mounts that have one, by their place in the request. The first process begins it, and ends the
// others when it ends. What they change is forgotten. It ends with ctx, or when released.
func (r *Runner) NewContainer(ctx context.Context, env *step.Env, req gwclient.NewContainerRequest, refs map[int]step.Ref) (gwclient.Container, error) {
	if p := req.Platform; p != nil {
		if err := supported(p.Spec()); err != nil {
			return nil, err
		}
	}
	network := networkMode(req.NetMode, "")
	if err := r.permit(network, false); err != nil {
		return nil, err
	}
	b := r.box(env, env.Lease.Name(), "container")
	b.extraHosts = req.ExtraHosts
	if req.Hostname != "" {
		b.hostname = req.Hostname
	}
	c := &container{box: b, processes: map[string]*process{}}
	mounts, in := containerMounts(req.Mounts, refs)
	err := b.prepare(ctx, mounts, in, "/")
	if err == nil {
		err = b.join(ctx, network)
	}
	if err != nil {
		return nil, errors.Join(err, c.Release(ctx))
	}
	c.stop = context.AfterFunc(ctx, c.kill)
	return c, nil
}

// containerMounts are the mounts of a request as those of a step.
func containerMounts(wanted []gwclient.Mount, refs map[int]step.Ref) (mounts []*pb.Mount, in []step.Ref) {
	for i, m := range wanted {
		mount := &pb.Mount{
			Input: int64(pb.Empty), Output: int64(pb.SkipOutput), Dest: m.Dest, Selector: m.Selector, Readonly: m.Readonly,
			MountType: m.MountType, CacheOpt: m.CacheOpt, SecretOpt: m.SecretOpt, SSHOpt: m.SSHOpt,
		}
		if ref, ok := refs[i]; ok {
			mount.Input = int64(len(in))
			in = append(in, ref)
		}
		mounts = append(mounts, mount)
	}
	return mounts, in
}

type container struct {
	box  *box
	stop func() bool

	mu        sync.Mutex
	running   *shim.Step
	first     *specs.Process
	processes map[string]*process
	closed    bool
	busy      sync.WaitGroup
}

// Start starts a process.
func (c *container) Start(ctx context.Context, req gwclient.StartRequest) (gwclient.ContainerProcess, error) {
	if err := c.box.runner.permit("", insecure(req.SecurityMode)); err != nil {
		return nil, err
	}
	hidden, err := secretEnv(ctx, c.box.env, req.SecretEnv)
	if err != nil {
		return nil, err
	}
	cmd := command{args: req.Args, cwd: req.Cwd, user: req.User, insecure: insecure(req.SecurityMode), tty: req.Tty}
	if cmd.cwd == "" {
		cmd.cwd = "/"
	}
	cmd.env = withDefault(req.Env, defaultPath)
	if req.Tty {
		cmd.env = withDefault(cmd.env, "TERM=xterm")
	}
	cmd.env = append(cmd.env, hidden...)
	ends, err := newPipes(req)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	p := &process{pipes: ends, done: make(chan struct{})}
	if err := c.begin(ctx, cmd, p); err != nil {
		p.pipes.abandon()
		return nil, notStarted(ctx, cmd, err)
	}
	c.processes[p.id] = p
	p.step = c.running
	p.pipes.pump()
	c.busy.Go(p.watch)
	return p, nil
}

// begin starts the first process with the container, a further one in it. The lock is held.
func (c *container) begin(ctx context.Context, cmd command, p *process) (err error) {
	switch {
	case c.closed:
		return fmt.Errorf("container is closed: %w", errdefs.ErrFailedPrecondition)
	case c.running == nil:
		c.running, err = c.box.start(ctx, cmd, p.pipes.theirs, shim.StepConfig{Terminal: cmd.tty})
		if err != nil {
			return err
		}
		p.pipes.console = c.running.Console
		doc, err := c.box.document(cmd)
		if err != nil {
			return err
		}
		c.first = doc.Process
		return nil
	}
	p.id = strconv.Itoa(len(c.processes))
	inside := *c.first
	inside.Args, inside.Env, inside.Cwd, inside.Terminal = cmd.args, cmd.env, cmd.cwd, cmd.tty
	caps, err := spec.Capabilities(nil, nil, cmd.insecure)
	if err != nil {
		return err
	}
	inside.Capabilities = &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps}
	p.pipes.console, err = c.running.Exec(ctx, p.id, shim.ExecConfig{Process: inside, User: userOf(cmd.user), Terminal: cmd.tty}, p.pipes.theirs)
	return err
}

// kill ends every process.
func (c *container) kill() {
	c.mu.Lock()
	running := c.running
	c.closed = true
	c.mu.Unlock()
	if running != nil {
		_ = running.Close() // what cannot be ended now is ended by the supervisor, or with it
	}
}

// Release ends the container and removes what is left of it.
func (c *container) Release(ctx context.Context) error {
	if c.stop != nil {
		c.stop()
	}
	c.kill()
	c.busy.Wait()
	err := c.box.close()
	return errors.Join(err, c.box.runner.parts.Layers.Scrap(context.WithoutCancel(ctx), c.box.built...))
}

// process is one process of a container.
type process struct {
	id    string
	step  *shim.Step
	pipes *pipes
	done  chan struct{}
	err   error // valid once done is closed
}

func (p *process) watch() {
	defer close(p.done)
	wait := func(ctx context.Context) (shim.Exit, error) { return p.step.WaitExec(ctx, p.id) }
	if p.id == "" {
		wait = p.step.Wait
	}
	exit, err := wait(context.Background())
	p.pipes.drain()
	switch {
	case err != nil:
		p.err = err
	case exit.Code != 0:
		failed := &gateway.ExitError{ExitCode: uint32(exit.Code)}
		if exit.OOMKilled {
			failed.Err = fmt.Errorf("exit code: %d: %w", exit.Code, syscall.ENOMEM)
		}
		p.err = failed
	}
}

// Wait returns when the process has ended; an exit code other than 0 is a *gateway.ExitError.
func (p *process) Wait() error {
	<-p.done
	return p.err
}

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// Resize sets the size of the process's terminal. One that has ended is no error.
func (p *process) Resize(ctx context.Context, size gwclient.WinSize) error {
	err := p.step.Resize(ctx, p.id, uint16(size.Cols), uint16(size.Rows))
	if p.ended() {
		return nil
	}
	return err
}

// Signal signals the process. One that has ended is no error.
func (p *process) Signal(ctx context.Context, sig syscall.Signal) error {
	err := p.step.Kill(ctx, p.id, sig)
	if p.ended() || errdefs.IsNotFound(err) {
		return nil
	}
	return err
}

// ReadFile reads a file of one of the mounts, as it is now.
func (c *container) ReadFile(_ context.Context, req gwclient.ReadContainerRequest) ([]byte, error) {
	root, done, err := c.view(req.MountIndex)
	if err != nil {
		return nil, err
	}
	defer done()
	return readFile(root, req.Filename, req.Range)
}

// StatFile tells about a file of one of the mounts.
func (c *container) StatFile(_ context.Context, req gwclient.StatContainerRequest) (*types.Stat, error) {
	root, done, err := c.view(req.MountIndex)
	if err != nil {
		return nil, err
	}
	defer done()
	return statFile(root, req.Path, c.box.users)
}

// ReadDir lists a folder of one of the mounts.
func (c *container) ReadDir(_ context.Context, req gwclient.ReadDirContainerRequest) ([]*types.Stat, error) {
	root, done, err := c.view(req.MountIndex)
	if err != nil {
		return nil, err
	}
	defer done()
	return readDir(root, req.Path, c.box.users)
}

// view is the tree that a mount shows, which stays until done is called.
func (c *container) view(index int) (root *os.File, done func(), err error) {
	if index < 0 || index >= len(c.box.views) || c.box.views[index] == nil {
		return nil, nil, invalid("mount index %d: there are %d mounts, and only those of file systems can be read", index, len(c.box.views))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, nil, fmt.Errorf("container is closed: %w", errdefs.ErrFailedPrecondition)
	}
	c.busy.Add(1)
	return c.box.views[index].Dir, c.busy.Done, nil
}
