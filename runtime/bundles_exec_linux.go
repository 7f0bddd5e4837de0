package runtime

import (
	"os"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cove-containers/cove/runtime/terminal"
)

// ExecOptions says how a further process is started in a container.
type ExecOptions struct {
	Process       specs.Process
	PidFile       string
	ConsoleSocket string
	// Attached keeps the terminal for this process.
	Attached bool
	// Groups are additional groups, by name or number.
	Groups []string
	// User is "user[:group]"; empty: Process.User.
	User string
}

// Exec makes and starts a further process in a running container.
func (b *Bundles) Exec(id string, o ExecOptions) (*Process, error) {
	r, err := b.Load(id)
	if err != nil {
		return nil, err
	}
	switch r.Status {
	case specs.StateStopped:
		return nil, errdefs.ErrFailedPrecondition.WithMessage("cannot exec in a stopped container")
	case Paused:
		return nil, errdefs.ErrFailedPrecondition.WithMessage("cannot exec in a paused container")
	}
	if err := checkTerminal(o.Process.Terminal, o.ConsoleSocket, o.Attached); err != nil {
		return nil, err
	}
	b.warn(&o.Process)
	c, err := r.open()
	if err != nil {
		return nil, err
	}
	defer c.pidfd.Close()
	if c.filter, err = loadFilter(r.Spec.Linux.Seccomp, ""); err != nil {
		return nil, err
	}
	p, err := c.Exec(o.Process, o.User, o.Groups, streams(&o.Process))
	if err != nil {
		return nil, err
	}
	if err := announce(p, o.ConsoleSocket, o.PidFile); err != nil {
		discard(p.end())
		return nil, err
	}
	return p, p.Start()
}

// Defaults is the container's own process, for a further one that takes over what it does not set.
func (b *Bundles) Defaults(id string) (specs.Process, error) {
	r, err := b.Load(id)
	if err != nil {
		return specs.Process{}, err
	}
	return *r.Spec.Process, nil
}

// Pids lists a container's processes by their numbers on the host.
func (b *Bundles) Pids(id string) ([]int, error) {
	r, err := b.Load(id)
	if err != nil {
		return nil, err
	}
	g, err := OpenCgroup(r.Cgroup)
	if err != nil {
		return nil, err
	}
	return g.Pids()
}

// Update changes the limits of a container that resources sets.
func (b *Bundles) Update(id string, resources *specs.LinuxResources) error {
	r, err := b.Load(id)
	if err != nil {
		return err
	}
	g, err := OpenCgroup(r.Cgroup)
	if err != nil {
		return err
	}
	return g.Update(resources)
}

// Interactive connects a process's terminal with this process's own until it ends, and gives its exit status.
func Interactive(p *Process) (ExitStatus, error) {
	if p.console == nil {
		return p.Wait()
	}
	defer p.console.Close()
	restore, err := terminal.Connect(os.Stdin, p.console, p.Resize)
	if err != nil {
		return ExitStatus{}, err
	}
	defer restore()
	return p.Wait()
}
