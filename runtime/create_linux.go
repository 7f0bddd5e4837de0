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
	"github.com/cove-containers/cove/runtime/checkpoint"
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
	// made is where the process puts the file systems it makes.
	made []madeFilesystem
	// making tells that it is at it.
	making bool
	// second is where the descriptor of the process comes that takes the first one's place; see joinUsers.
	second *int32
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
	c.container.users, c.container.ownMounts = c.birth.users, c.namespaces.has(unix.CLONE_NEWNS)
	c.container.join = c.namespaces.byProcess()
	c.program.shared.close()
	c.birth.lendStderr(c.pipes)
	c.birth.close()
	c.namespaces.Close()
	return c.container, nil
}

// inside lists the steps that happen on a thread of their own, which takes on the container's namespaces one by
// one. The order is the kernel's: bind sources are opened while the thread still sees the host's shared mounts; the
// process is cloned then, because only it can make what belongs to its pid and user namespaces, and waits; names and
// kernel settings are written in the new namespaces, but through the host's proc; the host's tree goes last, because
// hooks may need it. Until the process goes on it has its descriptors in common with this one.
func (c *creation) inside() []step {
	return []step{
		{"enter namespaces", func() error { return c.namespaces.enter(c.spec.Linux.TimeOffsets) }},
		{"open mounts", c.openRoot},
		{"join the cgroup", c.awaitGroup},
		{"plan the process", c.plan},
		{"clone the process", c.clone},
		{"follow the process", c.follow},
		{"keep the mount namespace", c.keepMounts},
		{"mount the root", c.mountRoot},
		{"adjust the process", c.adjust},
		{"await the process", c.awaitProcess},
		{"mount", c.mount},
		{"name the host", c.setNames},
		{"set kernel parameters", c.setParameters},
		{"make the terminal", c.makeTerminal},
		{"prepare the process", c.prepareProcess},
		{"plan the rest", c.planRest},
		{"run hooks", c.runHooks},
		{"protect paths", func() error { return c.root.Protect() }},
		{"pivot", func() error { return c.root.Pivot() }},
		{"let the process go on", func() error { return c.pipes.let() }},
		{"await readiness", c.awaitReadiness},
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
	case s.Process.SelinuxLabel != "" || s.Linux.MountLabel != "" && labelled():
		return errdefs.ErrNotImplemented.WithMessage("SELinux labels are not supported")
	case s.Linux.IntelRdt != nil:
		return errdefs.ErrNotImplemented.WithMessage("Intel RDT is not supported")
	}
	c.birth.process = *c.spec.Process
	c.birth.preserve = c.cfg.PreserveFDs
	c.birth.personality, c.birth.shares = c.spec.Linux.Personality, true
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
	if c.birth.stdio, err = duplicate(c.io, c.cfg.PreserveFDs); err == nil {
		c.container.own, c.container.streams = checkpoint.Own(c.spec.Mounts), streamsOf(c.birth.stdio)
	}
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
	if c.namespaces, err = readNamespaces(c.spec.Linux.Namespaces, c.cfg.NetNS, c.cfg.UserNS); err != nil {
		return err
	}
	c.undo.push(c.namespaces.Close)
	c.birth.newCgroupNS, c.birth.cgroupNS = c.namespaces.create&unix.CLONE_NEWCGROUP != 0, c.namespaces.cgroups()
	c.birth.users, err = c.namespaces.idMap(c.spec.Linux)
	return err
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
func placeholder() (pid int, stop func(), err error) { return holder(0, nil) }

// holder is a placeholder in new namespaces, which belong to a user namespace that is there where one is given.
func holder(flags uintptr, users *os.File) (pid int, stop func(), err error) {
	pipes, err := openPipes()
	if err != nil {
		return 0, nil, err
	}
	wait := &program{report: int(pipes.childReport.Fd())}
	if users != nil {
		wait.add("hide the runtime", unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 0)
		wait.add("enter", unix.SYS_SETNS, users.Fd(), unix.CLONE_NEWUSER)
		wait.add("make namespaces", unix.SYS_UNSHARE, flags)
		flags = 0
	}
	wait.mark(markPrepared)
	start := int(pipes.childStart.Fd())
	wait.keepOnly([]int{start})
	wait.wait(start)
	holder := &Process{}
	pid, pidfd, err := clone(wait, flags, -1)
	if err != nil {
		pipes.Close()
		return 0, nil, err
	}
	holder.born(pid, pidfd, wait, pipes, "", "")
	stop = func() {
		pipes.Close()
		discard(holder.end())
	}
	if err := holder.control(func(fd int) error { return wait.listen(int(pipes.report.Fd()), markPrepared, fd) }); err != nil {
		stop()
		return 0, nil, err
	}
	return pid, stop, nil
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
		Rooms:      c.cfg.Rooms,
		Bundle:     c.cfg.Bundle,
		Mounts:     c.spec.Mounts,
		Devices:    c.spec.Linux.Devices,
		Masked:     c.spec.Linux.MaskedPaths,
		ReadOnlys:  c.spec.Linux.ReadonlyPaths,
		ProcInside: c.namespaces.has(unix.CLONE_NEWPID),
		Owner:      ownerOf(c.birth.users),
		IDMap:      c.mapIDs,
		Borrowed:   !c.namespaces.has(unix.CLONE_NEWNS),
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
	if (c.spec.Hostname != "" || c.spec.Domainname != "") && !c.namespaces.has(unix.CLONE_NEWUTS) {
		return errdefs.ErrInvalidArgument.WithMessage("unable to set hostname without a private UTS namespace")
	}
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

func (c *creation) clone() error {
	into := -1
	if c.birth.entry.Dir != nil {
		into = int(c.birth.entry.Dir.Fd())
	}
	flags := c.namespaces.withProcess()
	if c.namespaces.users != nil {
		flags = 0
	}
	pid, pidfd, err := clone(&c.program, flags|unix.CLONE_FILES, into)
	if err != nil {
		return err
	}
	if c.namespaces.users == nil {
		c.container.born(pid, pidfd, &c.program, c.pipes, c.spec.Process.Args[0], "")
	} else if err := c.takeSecond(pid, pidfd); err != nil {
		return err
	}
	c.making = !c.namespaces.ownUsers()
	c.undo.push(func() {
		// Killed in the middle, the process could not tell what it has opened in the table both use.
		if c.making {
			discard(c.listen(markPrepared))
		}
		discard(c.container.end())
	})
	return nil
}

// follow gives a user namespace its mappings and joins what came with the process.
func (c *creation) follow() error {
	if !c.namespaces.ownUsers() {
		return nil
	}
	if c.namespaces.users == nil {
		if err := c.birth.users.Write(c.container.pid); err != nil {
			return err
		}
	}
	if err := c.pipes.let(); err != nil {
		return err
	}
	c.making = true
	return c.container.control(c.namespaces.follow)
}

func (c *creation) mountRoot() error {
	if err := c.root.MountRoot(); err != nil {
		return err
	}
	if !c.namespaces.has(unix.CLONE_NEWNS) {
		c.undo.push(func() { discard(unmountRoot(c.root.Place())) })
	}
	return nil
}

// unmountRoot takes away what a container without a mount namespace has left in the host's.
func unmountRoot(place string) error {
	return unix.Unmount(place, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
}

func (c *creation) adjust() error {
	return setOOMScore(c.container.pid, c.spec.Process.OOMScoreAdj)
}

func (c *creation) listen(mark uint32) error {
	return c.container.control(func(pidfd int) error { return c.program.listen(int(c.pipes.report.Fd()), mark, pidfd) })
}

// awaitProcess returns when the process has made what it makes.
func (c *creation) awaitProcess() error {
	err := c.listen(markPrepared)
	c.making = false
	return err
}

// awaitReadiness returns when the process waits to be started. It has its own descriptors by then; what it shares with
// this process is closed here, so that its end shows.
func (c *creation) awaitReadiness() error {
	err := c.listen(markWaiting)
	c.pipes.closeChild()
	if err != nil || c.birth.users == nil {
		return err
	}
	return c.birth.setLimits(c.container.pid)
}

// mount takes what the process has made and mounts everything. It enters the cgroup namespace that the process has
// made or joined.
func (c *creation) mount() error {
	if c.birth.newCgroupNS || c.birth.cgroupNS != nil {
		if err := c.container.control(func(fd int) error { return unix.Setns(fd, unix.CLONE_NEWCGROUP) }); err != nil {
			return fmt.Errorf("join cgroup namespace: %w", err)
		}
	}
	for _, f := range c.made {
		f.Deliver(os.NewFile(*f.mount, f.Kind))
		*f.mount = 0
	}
	var all []rootfs.Hierarchy
	for _, h := range c.container.cgroup.Hierarchies() {
		all = append(all, rootfs.Hierarchy(h))
	}
	return c.root.Mount(all)
}

// discard drops the error of a step taken back: what failed before is what the caller has to hear.
func discard(error) {}

func (c *creation) prepareProcess() error {
	if err := c.birth.prepare(c.root.Dir(), c.cfg.User, c.cfg.Groups); err != nil {
		return err
	}
	// A folder that cannot be made is reported when the process enters it.
	discard(c.root.MakeDir(c.birth.cwd()))
	c.container.path = c.birth.path
	if c.cfg.Init {
		c.birth.useInit()
	}
	return nil
}

// labelled tells whether SELinux labels files on this host; where it does not, nothing asks for labels.
func labelled() bool {
	_, err := os.Stat("/sys/fs/selinux/enforce")
	return err == nil
}

func (c *creation) loadFilter() error {
	var err error
	c.birth.filter, err = loadFilter(c.spec.Linux.Seccomp, c.cfg.SeccompCache)
	return err
}
