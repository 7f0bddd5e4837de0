package runtime

import (
	"fmt"
	"os"
	"path"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/cove-containers/cove/runtime/cgroup"
	"github.com/cove-containers/cove/runtime/rootfs"
	"github.com/cove-containers/cove/sys"
)

// creation is a container in the making.
type creation struct {
	cfg  Config
	spec *specs.Spec
	io   IO
	undo undo
	// before is called before each step; its error fails the step.
	before func(step string) error

	namespaces namespaces
	pipes      *pipes
	birth      birth
	program    program
	root       *rootfs.Root
	container  *Container
	// group delivers the cgroup, which is made while the root is.
	group chan madeGroup
}

type madeGroup struct {
	cgroup *cgroup.Cgroup
	err    error
}

// step is one of a recipe's steps.
type step struct {
	name string
	do   func() error
}

// Create makes the container; its process waits for Start before it becomes the program. A failure leaves nothing
// behind. It may be called many times at once.
func Create(cfg Config, io IO) (*Container, error) {
	return create(cfg, io, noInjection)
}

// noInjection lets every step happen; tests put failures in its place.
func noInjection(string) error { return nil }

func create(cfg Config, io IO, before func(step string) error) (*Container, error) {
	c := &creation{cfg: cfg, spec: cfg.Spec, io: io, before: before, container: &Container{}}
	err := c.run([]step{
		{"check the document", c.check},
		{"open streams", c.openStreams},
		{"open init", c.openInit},
		{"open namespaces", c.openNamespaces},
		{"load the filter", c.loadFilter},
		{"make the cgroup", c.startGroup},
		{"set up", func() error { return sys.OnOwnThread(func() error { return c.run(c.inside()) }) }},
	})
	if err != nil {
		c.undo.run()
		return nil, asStartError(err)
	}
	c.container.stubs = c.root.Stubs()
	c.container.root = c.root.Release()
	c.container.filter, c.container.personality = c.birth.filter, c.birth.personality
	c.container.ownTime = c.namespaces.has(unix.CLONE_NEWTIME)
	c.birth.lendStderr(c.pipes)
	c.birth.close()
	c.namespaces.Close()
	return c.container, nil
}

// inside lists the steps that happen on a thread of their own, which takes on the container's namespaces one by
// one. The order is the kernel's: bind sources are opened while the thread still sees the host's shared mounts;
// names and kernel settings are written in the new namespaces, but through the host's proc; the process is cloned
// when the root stands, because it inherits root and mounts from this thread; what only a process in its pid and
// cgroup namespaces can mount comes after it; the host's tree goes last, because hooks may need it.
func (c *creation) inside() []step {
	return []step{
		{"enter namespaces", func() error { return c.namespaces.enter(c.spec.Linux.TimeOffsets) }},
		{"open mounts", c.openRoot},
		{"keep the mount namespace", c.keepMounts},
		{"mount the root", func() error { return c.root.Mount() }},
		{"name the host", c.setNames},
		{"set kernel parameters", c.setParameters},
		{"make the terminal", c.makeTerminal},
		{"prepare the process", c.prepareProcess},
		{"join the cgroup", c.awaitGroup},
		{"plan the process", c.plan},
		{"clone the process", c.clone},
		{"adjust the process", c.adjust},
		{"await the process", func() error { return c.listen(markPrepared) }},
		{"mount what needs the process", c.mountLate},
		{"run hooks", c.runHooks},
		{"protect paths", func() error { return c.root.Protect() }},
		{"pivot", func() error { return c.root.Pivot() }},
		{"let the process go on", func() error { return c.pipes.let() }},
		{"await readiness", func() error { return c.listen(markWaiting) }},
	}
}

func (c *creation) run(steps []step) error {
	for _, s := range steps {
		err := c.before(s.name)
		if err == nil {
			err = s.do()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *creation) check() error {
	switch s := c.spec; {
	case s == nil || s.Process == nil || s.Linux == nil || s.Root == nil && c.cfg.Overlay == nil && c.cfg.Tree == nil:
		return errdefs.ErrInvalidArgument.WithMessage("the document lacks process, root or linux")
	case len(s.Process.Args) == 0:
		return errdefs.ErrInvalidArgument.WithMessage("no command specified")
	case s.Process.SelinuxLabel != "" || s.Linux.MountLabel != "":
		return errdefs.ErrNotImplemented.WithMessage("SELinux labels are not supported")
	case len(s.Linux.UIDMappings)+len(s.Linux.GIDMappings) > 0:
		return errdefs.ErrNotImplemented.WithMessage("user namespaces are not supported")
	case s.Linux.IntelRdt != nil:
		return errdefs.ErrNotImplemented.WithMessage("Intel RDT is not supported")
	}
	c.birth.process = *c.spec.Process
	c.birth.preserve = c.cfg.PreserveFDs
	c.birth.personality = c.spec.Linux.Personality
	c.undo.push(c.birth.close)
	return nil
}

func (c *creation) openStreams() error {
	var err error
	if c.pipes, err = openPipes(); err != nil {
		return err
	}
	c.undo.push(c.pipes.Close)
	c.birth.report, c.birth.start = c.pipes.childReport, c.pipes.childStart
	if c.cfg.Handover != "" {
		if c.birth.handover, err = makeHandover(c.cfg.Handover); err != nil {
			return err
		}
		c.undo.push(func() { discard(removeHandover(c.cfg.Handover)) })
	}
	if err := c.birth.openConfinement(); err != nil {
		return err
	}
	if c.io.Terminal {
		c.birth.terminal = true
		return nil
	}
	c.birth.stdio, err = duplicate(c.io, c.cfg.PreserveFDs)
	return err
}

// openInit opens process 1's program while the thread still has the mounts it was started from.
func (c *creation) openInit() error {
	if !c.cfg.Init {
		return nil
	}
	var err error
	if c.birth.program, err = sys.OpenProgram("/proc/self/exe"); err != nil {
		return fmt.Errorf("open init: %w", err)
	}
	return nil
}

func (c *creation) openNamespaces() error {
	var err error
	if c.namespaces, err = readNamespaces(c.spec.Linux.Namespaces, c.cfg.NetNS); err != nil {
		return err
	}
	c.undo.push(c.namespaces.Close)
	c.birth.newCgroupNS = c.namespaces.create&unix.CLONE_NEWCGROUP != 0
	return nil
}

// startGroup makes the cgroup while the thread builds the root.
func (c *creation) startGroup() error {
	name := c.spec.Linux.CgroupsPath
	if name == "" {
		name = "/cove/" + c.cfg.ID
	}
	c.group = make(chan madeGroup, 1)
	go func() {
		g, err := cgroup.Create(name, c.spec.Linux.Resources, placeholder)
		c.group <- madeGroup{g, err}
	}()
	c.undo.push(func() {
		// Whoever fails before the cgroup was asked for has to wait for it here.
		if c.container.cgroup == nil && c.group != nil {
			made := <-c.group
			c.container.cgroup = made.cgroup
		}
		if c.container.cgroup != nil {
			discard(c.container.cgroup.KillAll())
			discard(c.container.cgroup.Remove())
		}
	})
	return nil
}

// placeholder is a process that does nothing until it is stopped.
func placeholder() (pid int, stop func(), err error) {
	pipes, err := openPipes()
	if err != nil {
		return 0, nil, err
	}
	wait := &program{report: -1}
	wait.keepOnly([]int{int(pipes.childStart.Fd())})
	wait.wait(int(pipes.childStart.Fd()))
	holder := &Process{}
	pid, pidfd, err := clone(wait, 0, -1)
	if err != nil {
		pipes.Close()
		return 0, nil, err
	}
	holder.born(pid, pidfd, wait, pipes, "", "")
	return pid, func() {
		pipes.Close()
		discard(holder.end())
	}, nil
}

func (c *creation) awaitGroup() error {
	made := <-c.group
	c.group, c.container.cgroup = nil, made.cgroup
	if made.err != nil {
		return made.err
	}
	var err error
	c.birth.entry, err = made.cgroup.Entry()
	return err
}

func (c *creation) openRoot() error {
	s := rootfs.Settings{
		Overlay:    (*rootfs.Overlay)(c.cfg.Overlay),
		Tree:       c.cfg.Tree,
		Sources:    c.cfg.Sources,
		Bundle:     c.cfg.Bundle,
		Mounts:     c.spec.Mounts,
		Devices:    c.spec.Linux.Devices,
		Masked:     c.spec.Linux.MaskedPaths,
		ReadOnlys:  c.spec.Linux.ReadonlyPaths,
		ProcInside: c.namespaces.has(unix.CLONE_NEWPID),
	}
	s.Propagation = c.spec.Linux.RootfsPropagation
	if c.spec.Root != nil {
		s.ReadOnly, s.Path = c.spec.Root.Readonly, c.spec.Root.Path
		if !path.IsAbs(s.Path) {
			s.Path = path.Join(c.cfg.Bundle, s.Path)
		}
	}
	s.CgroupInside = c.namespaces.has(unix.CLONE_NEWCGROUP)
	var err error
	if c.root, err = rootfs.Open(s); err != nil {
		return err
	}
	c.undo.push(c.root.Close)
	return nil
}

// keepMounts holds the mount namespace; see Container.
func (c *creation) keepMounts() error {
	var err error
	if c.container.mounts, err = os.Open("/proc/thread-self/ns/mnt"); err != nil {
		return fmt.Errorf("hold mount namespace: %w", err)
	}
	c.undo.push(func() { c.container.mounts.Close() })
	return nil
}

func (c *creation) setNames() error {
	if c.spec.Hostname != "" {
		if err := unix.Sethostname([]byte(c.spec.Hostname)); err != nil {
			return fmt.Errorf("set hostname: %w", err)
		}
	}
	if c.spec.Domainname != "" {
		if err := unix.Setdomainname([]byte(c.spec.Domainname)); err != nil {
			return fmt.Errorf("set domainname: %w", err)
		}
	}
	return nil
}

// setParameters writes sysctls through the host's proc, which shows each thread the parameters of its own
// namespaces and which nothing in the container can have tampered with.
func (c *creation) setParameters() error {
	for name, value := range c.spec.Linux.Sysctl {
		if !c.namespaces.own(name) {
			return errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("sysctl %q is not in a separate kernel namespace", name))
		}
		file := "/proc/sys/" + strings.ReplaceAll(name, ".", "/")
		if path.Clean(file) != file || strings.HasSuffix(file, "/") {
			return errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("invalid sysctl %q", name))
		}
		if err := os.WriteFile(file, []byte(value), 0); err != nil {
			return fmt.Errorf("sysctl %q: %w", name, err)
		}
	}
	return nil
}

func (c *creation) makeTerminal() error {
	if !c.io.Terminal {
		return nil
	}
	master, slave, err := c.root.Terminal(true)
	if err != nil {
		return err
	}
	c.container.console = master
	c.undo.push(func() { master.Close() })
	return c.birth.useTerminal(master, slave, c.io)
}

// plan writes down what the child will do.
func (c *creation) plan() error {
	for _, p := range c.root.Procs() {
		c.birth.held = append(c.birth.held, p.Target)
	}
	c.birth.prologue(&c.program)
	for _, p := range c.root.Procs() {
		mountProc(&c.program, p)
	}
	c.program.mark(markPrepared)
	c.program.wait(int(c.pipes.childStart.Fd()))
	return c.birth.epilogue(&c.program)
}

// Registers of a proc file system in the making.
const (
	registerContext = iota
	registerMount
)

func mountProc(p *program, proc rootfs.Proc) {
	p.add("open proc", unix.SYS_FSOPEN, p.text("proc"), unix.FSOPEN_CLOEXEC).into = registerContext
	set := func(command uintptr, key, value uintptr) {
		p.add("configure proc", unix.SYS_FSCONFIG, registerContext, command, key, value, 0).refs = 1
	}
	set(unix.FSCONFIG_SET_STRING, p.text("source"), p.text("proc"))
	for _, o := range proc.Options {
		set(unix.FSCONFIG_SET_STRING, p.text(o[0]), p.text(o[1]))
	}
	set(unix.FSCONFIG_CMD_CREATE, 0, 0)
	mount := p.add("mount proc", unix.SYS_FSMOUNT, registerContext, unix.FSMOUNT_CLOEXEC, uintptr(proc.Attributes))
	mount.refs, mount.into = 1, registerMount
	p.add("attach proc", unix.SYS_MOVE_MOUNT, registerMount, p.text(""), proc.Target.Fd(), p.text(""),
		unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH).refs = 1
	p.add("close proc", unix.SYS_CLOSE, registerMount).refs = 1
	p.add("close proc", unix.SYS_CLOSE, registerContext).refs = 1
}

func (c *creation) clone() error {
	into := -1
	if c.birth.entry.Dir != nil {
		into = int(c.birth.entry.Dir.Fd())
	}
	pid, pidfd, err := clone(&c.program, c.namespaces.create&unix.CLONE_NEWPID, into)
	if err != nil {
		return err
	}
	// The child has its own copies now, and its end must show.
	c.pipes.closeChild()
	c.container.born(pid, pidfd, &c.program, c.pipes, c.spec.Process.Args[0], c.birth.path)
	c.undo.push(func() {
		discard(c.container.end())
	})
	return nil
}

func (c *creation) adjust() error {
	return setOOMScore(c.container.pid, c.spec.Process.OOMScoreAdj)
}

func (c *creation) listen(mark uint32) error {
	return c.program.listen(int(c.pipes.report.Fd()), mark)
}

// mountLate mounts what needs the process; it enters the cgroup namespace that the process has made.
func (c *creation) mountLate() error {
	if c.birth.newCgroupNS {
		if err := c.container.control(func(fd int) error { return unix.Setns(fd, unix.CLONE_NEWCGROUP) }); err != nil {
			return fmt.Errorf("join cgroup namespace: %w", err)
		}
	}
	var all []rootfs.Hierarchy
	for _, h := range c.container.cgroup.Hierarchies() {
		all = append(all, rootfs.Hierarchy(h))
	}
	return c.root.Late(all)
}

// discard drops the error of a step taken back: what failed before is what the caller has to hear.
func discard(error) {}

func (c *creation) prepareProcess() error {
	if err := c.birth.prepare(c.root.Dir(), c.cfg.User, c.cfg.Groups); err != nil {
		return err
	}
	// A folder that cannot be made is reported when the process enters it.
	discard(c.root.MakeDir(c.birth.cwd()))
	if c.cfg.Init {
		c.birth.useInit()
	}
	return nil
}

func (c *creation) loadFilter() error {
	var err error
	c.birth.filter, err = loadFilter(c.spec.Linux.Seccomp, c.cfg.SeccompCache)
	return err
}
