package runtime

import (
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"
	"unsafe"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/cove-containers/cove/runtime/account"
	"github.com/cove-containers/cove/runtime/cgroup"
	"github.com/cove-containers/cove/sys"
)

// birth is everything a process needs to come into the world: what it shall be, and the descriptors it is born with.
type birth struct {
	process specs.Process
	id      account.Identity
	// path is the program, found inside the root; env is complete.
	path string
	env  []string
	// program is the file to execute instead of path where it is none of the container's own.
	program *os.File
	// filter is the seccomp program, empty for none.
	filter filter
	stdio  [3]*os.File
	// terminal tells that stdio is a terminal, to become the controlling one.
	terminal bool
	preserve int
	// report and start are the child's ends of its pipes to the runtime.
	report, start *os.File
	// handover replaces them once the process is set up, where another process shall start it; else nil.
	handover *handover
	// chroot is the root of a process whose mount namespace has another; else nil.
	chroot *os.File
	// shares tells that the child has its descriptors in common with the runtime, until it lets go of them.
	shares bool
	// users maps the process's user namespace to the host's; nil: it is the host's.
	users *account.Map

	entry *cgroup.Entry
	// newCgroupNS makes a cgroup namespace once the process is in its cgroup.
	newCgroupNS bool
	// cgroupNS is one to join then; else nil.
	cgroupNS    *os.File
	personality *specs.LinuxPersonality
	// proc is the host's, for a process with an AppArmor profile, and profileFile where to write it; else nil.
	proc        *os.File
	profileFile string
	// joinOf is a process whose namespaces of the kinds in join the child enters: a thread among others cannot.
	joinOf *os.File
	join   uintptr
}

// stepExec is the step that makes the process its program.
const stepExec = "exec"

// prologue is what the child does first: it enters its cgroup, and what namespaces only a process can.
func (b *birth) prologue(p *program) {
	p.report = int(b.report.Fd())
	// Until it executes the program the child is a copy of the runtime, which nobody inside may look at.
	p.add("hide the runtime", unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 0)
	self := p.bytes([]byte("0"))
	for _, f := range b.entry.Tasks {
		p.add("enter cgroup", unix.SYS_WRITE, f.Fd(), self, 1)
	}
	if b.joinOf != nil {
		p.add("join namespaces", unix.SYS_SETNS, b.joinOf.Fd(), b.join)
	}
	if b.newCgroupNS {
		p.add("make cgroup namespace", unix.SYS_UNSHARE, unix.CLONE_NEWCGROUP)
	}
	if b.cgroupNS != nil {
		p.add("join cgroup namespace", unix.SYS_SETNS, b.cgroupNS.Fd(), unix.CLONE_NEWCGROUP)
	}
	p.add("make session", unix.SYS_SETSID)
	// The keys of whoever started the engine are not the container's. A host that lacks keys or has too many goes on.
	p.add("make keyring", unix.SYS_KEYCTL, unix.KEYCTL_JOIN_SESSION_KEYRING, 0).check = ignoreError
}

// letGo closes what is not the child's own.
func (b *birth) letGo(p *program) {
	if b.shares {
		p.add("have descriptors of its own", unix.SYS_UNSHARE, unix.CLONE_FILES)
	}
	files := []*os.File{b.report, b.start, b.stdio[0], b.stdio[1], b.stdio[2], b.program, b.proc}
	if b.handover != nil {
		files = append(files, b.handover.start, b.handover.report)
	}
	var fds []int
	for n := 3; n < 3+b.preserve; n++ {
		fds = append(fds, n)
	}
	for _, f := range files {
		if f != nil {
			fds = append(fds, int(f.Fd()))
		}
	}
	slices.Sort(fds)
	p.keepOnly(slices.Compact(fds))
}

// epilogue is the rest: from a process of the runtime's to the container's program. The order matters: a limit of
// open files may be too low to set up streams; limits and scheduling need privileges that the identity takes away;
// no_new_privs and the filter come last, because the filter holds for every later step as well.
func (b *birth) epilogue(p *program) error {
	if err := b.checkTexts(); err != nil {
		return err
	}
	if b.chroot != nil {
		p.add("enter root", unix.SYS_FCHDIR, b.chroot.Fd())
		p.add("change root", unix.SYS_CHROOT, p.text("."))
	}
	b.letGo(p)
	b.descriptors(p)
	if err := b.limits(p); err != nil {
		return err
	}
	umask := uintptr(0o022)
	if b.process.User.Umask != nil {
		umask = uintptr(*b.process.User.Umask & 0o777)
	}
	p.add("set umask", unix.SYS_UMASK, umask)
	closing := uintptr(unix.O_CLOEXEC)
	if b.program != nil {
		// Init counts as started when it can forward signals: until then they would be lost, or end it.
		closing = 0
		p.add("keep the report for init", unix.SYS_FCNTL, uintptr(p.report), unix.F_SETFD, 0)
	}
	b.become(p)
	p.mark(markWaiting)
	start := b.start
	if b.handover != nil {
		start = b.handover.start
		p.add("hand over", unix.SYS_DUP3, b.handover.report.Fd(), uintptr(p.report), closing)
	}
	p.wait(int(start.Fd()))
	argv, envp := p.vector(b.process.Args), p.vector(b.env)
	if b.program != nil {
		p.add(stepExec, unix.SYS_EXECVEAT, b.program.Fd(), p.bytes([]byte{0}), argv, envp, unix.AT_EMPTY_PATH)
	} else {
		p.add(stepExec, unix.SYS_EXECVE, p.text(b.path), argv, envp)
	}
	return nil
}

// checkTexts refuses what the kernel would take for shorter than it is: its strings end at the first zero byte.
func (b *birth) checkTexts() error {
	for _, list := range [][]string{b.process.Args, b.env, {b.process.Cwd}} {
		for _, text := range list {
			if strings.IndexByte(text, 0) >= 0 {
				return errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("%q contains a zero byte", text))
			}
		}
	}
	return nil
}

// descriptors puts standard input, output and error in place.
func (b *birth) descriptors(p *program) {
	for n, f := range b.stdio {
		p.add("set up standard streams", unix.SYS_DUP3, f.Fd(), uintptr(n), 0)
	}
	if b.terminal {
		p.add("take controlling terminal", unix.SYS_IOCTL, 0, unix.TIOCSCTTY, 0)
	}
}

// become gives the process its identity and capabilities. A process without no_new_privs needs CAP_SYS_ADMIN to
// install a filter, so where the container is not to have it, it goes after that.
func (b *birth) become(p *program) {
	caps := capabilitySets(b.process.Capabilities)
	for _, n := range caps.outsideBounding() {
		c := p.add("drop capability", unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, uintptr(n))
		c.tolerate = unix.EINVAL // a capability this kernel does not know
	}
	p.add("keep capabilities", unix.SYS_PRCTL, unix.PR_SET_KEEPCAPS, 1)
	// The current folder may be reachable for one of the two identities only; the second try decides.
	b.enter(p, "enter working directory", ignoreError)
	groups := make([]uint32, len(b.id.Groups)+1)
	copy(groups, b.id.Groups)
	p.add("set groups", unix.SYS_SETGROUPS, uintptr(len(b.id.Groups)), p.bytes(unsafe.Slice((*byte)(unsafe.Pointer(&groups[0])), 4*len(groups))))
	p.add("set group", unix.SYS_SETRESGID, uintptr(b.id.GID), uintptr(b.id.GID), uintptr(b.id.GID))
	p.add("set user", unix.SYS_SETRESUID, uintptr(b.id.UID), uintptr(b.id.UID), uintptr(b.id.UID))
	armed := caps
	if !b.filter.empty() && !b.process.NoNewPrivileges {
		armed = caps.with(unix.CAP_SYS_ADMIN)
	}
	armed.set(p)
	p.add("forget kept capabilities", unix.SYS_PRCTL, unix.PR_SET_KEEPCAPS, 0)
	b.enter(p, fmt.Sprintf("chdir to cwd (%q) set in config.json failed", b.cwd()), failOnError)
	for _, n := range caps.ambient.list() {
		c := p.add("set ambient capability", unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, uintptr(n), 0, 0)
		c.tolerate = unix.EPERM // documents list what is not inheritable; other runtimes pass over it, too
	}
	b.confine(p)
	if b.process.NoNewPrivileges {
		p.add("set no_new_privs", unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
	}
	if b.filter.empty() {
		return
	}
	b.filter.install(p)
	if armed != caps {
		caps.set(p)
	}
}

// enter adds the calls that enter the working directory. It may not lead through /proc's magic links: what the child
// still has open is not the container's.
func (b *birth) enter(p *program, name string, check check) {
	how := &unix.OpenHow{Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_MAGICLINKS}
	here := unix.AT_FDCWD
	open := p.add(name, unix.SYS_OPENAT2, uintptr(here), p.text(b.cwd()), object(p, how), unsafe.Sizeof(*how))
	open.into, open.check = registerContext, check
	change := p.add(name, unix.SYS_FCHDIR, registerContext)
	change.refs, change.check = 1, check
	p.add(name, unix.SYS_CLOSE, registerContext).refs = 1
	p.calls[len(p.calls)-1].check = check
}

// cwd is the working directory.
func (b *birth) cwd() string {
	if b.process.Cwd == "" {
		return "/"
	}
	return path.Clean(b.process.Cwd)
}

// pipes are the two ends the runtime keeps and the two its child gets.
type pipes struct {
	// report carries records from the child, start a byte to it.
	report, start           *os.File
	childReport, childStart *os.File
	// stderr is the child's standard error as long as the runtime may have to speak for it; nil where it may not.
	stderr *os.File
}

func openPipes() (*pipes, error) {
	var p pipes
	var fds [2]int
	for _, ends := range [][2]**os.File{{&p.report, &p.childReport}, {&p.childStart, &p.start}} {
		if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
			p.Close()
			return nil, fmt.Errorf("make pipe: %w", err)
		}
		*ends[0], *ends[1] = os.NewFile(uintptr(fds[0]), "pipe"), os.NewFile(uintptr(fds[1]), "pipe")
	}
	return &p, nil
}

// closeChild closes the child's ends, so that their closing shows.
func (p *pipes) closeChild() { closeAll([]*os.File{p.childReport, p.childStart}) }

// Close closes all ends.
func (p *pipes) Close() {
	closeAll([]*os.File{p.childReport, p.childStart, p.report, p.start, p.stderr})
}

// let writes the byte the child waits for. A child that has ended is noticed by its report.
func (p *pipes) let() error {
	_, err := unix.Write(int(p.start.Fd()), []byte{0})
	if err != nil && !errors.Is(err, unix.EPIPE) {
		return fmt.Errorf("write to the container's process: %w", err)
	}
	return nil
}

// duplicate gives a process its own copies of its streams, above those numbers the process itself will use. Nil
// streams are /dev/null.
func duplicate(io IO, preserve int) (stdio [3]*os.File, err error) {
	for n, f := range []*os.File{io.Stdin, io.Stdout, io.Stderr} {
		if f == nil {
			null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
			if err != nil {
				closeAll(stdio[:])
				return stdio, err
			}
			f = null
			defer null.Close()
		}
		copied, err := aboveStandard(f, preserve)
		if err != nil {
			closeAll(stdio[:])
			return [3]*os.File{}, err
		}
		stdio[n] = copied
	}
	return stdio, nil
}

// aboveStandard duplicates f to a number the process does not use.
func aboveStandard(f *os.File, preserve int) (*os.File, error) {
	return sys.DuplicateFrom(f, 3+preserve)
}

func closeAll(files []*os.File) {
	for _, f := range files {
		if f != nil {
			f.Close()
		}
	}
}

// handOver gives the streams to the user, so that /dev/stdout and the like can be opened again. What is shared with
// the world, or cannot be given away, stays as it is.
func handOver(stdio [3]*os.File, uid uint32) error {
	for _, f := range stdio {
		var st unix.Stat_t
		if err := unix.Fstat(int(f.Fd()), &st); err != nil {
			return fmt.Errorf("look at standard stream: %w", err)
		}
		isNull := st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == unix.Mkdev(1, 3)
		if isNull || st.Uid == uid {
			continue
		}
		err := unix.Fchown(int(f.Fd()), int(uid), -1)
		if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EROFS) {
			return fmt.Errorf("give standard stream to user %d: %w", uid, err)
		}
	}
	return nil
}

// asStartError explains why a container did not come into being, with the status a shell would give.
func asStartError(err error) error {
	var known *StartError
	if err == nil || errors.As(err, &known) {
		return err
	}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return &StartError{Code: exitCode(errno), Err: err}
	}
	return err
}

// useTerminal makes a terminal the process's streams.
func (b *birth) useTerminal(master, slave *os.File, io IO) error {
	defer slave.Close()
	if io.Width != 0 || io.Height != 0 {
		if err := sys.SetWindowSize(master, io.Width, io.Height); err != nil {
			return fmt.Errorf("set terminal size: %w", err)
		}
	}
	var err error
	b.stdio, err = duplicate(IO{Stdin: slave, Stdout: slave, Stderr: slave}, b.preserve)
	return err
}

// lendStderr lets the runtime speak on the process's standard error until it is its program, where the runtime itself
// will start it.
func (b *birth) lendStderr(p *pipes) {
	if b.handover == nil {
		p.stderr, b.stdio[2] = b.stdio[2], nil
	}
}

// close closes the runtime's copies of what the process was born with.
func (b *birth) close() {
	closeAll(b.stdio[:])
	closeAll([]*os.File{b.program, b.joinOf, b.proc, b.chroot})
	if b.entry != nil {
		b.entry.Close()
	}
	if b.handover != nil {
		closeAll([]*os.File{b.handover.start, b.handover.report})
	}
	b.stdio, b.program, b.entry, b.joinOf, b.proc, b.chroot, b.handover = [3]*os.File{}, nil, nil, nil, nil, nil, nil
}

// prepare finds out who the process is and what it runs, inside root.
func (b *birth) prepare(root *os.File, user string, groups []string) error {
	var err error
	if b.id, err = account.Resolve(root, b.process.User, user, groups); err != nil {
		return err
	}
	b.env = b.process.Env
	if variable(b.env, "HOME") == "" {
		b.env = slices.DeleteFunc(slices.Clone(b.env), func(e string) bool { return e == "HOME=" })
		b.env = append(b.env, "HOME="+b.id.Home)
	}
	if b.path, err = lookPath(root, b.cwd(), b.process.Args[0], b.env); err != nil {
		return err
	}
	uid, known := b.users.User(b.id.UID)
	if _, knownGroup := b.users.Group(b.id.GID); !known || !knownGroup {
		return errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("user %d:%d is not mapped in the user namespace", b.id.UID, b.id.GID))
	}
	return handOver(b.stdio, uid)
}
