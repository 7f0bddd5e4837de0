//lint:file-ignore U1000 structs laid out for the kernel have fields that are only ever zero

package runtime

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

//go:linkname beforeFork syscall.runtime_BeforeFork
func beforeFork()

//go:linkname afterFork syscall.runtime_AfterFork
func afterFork()

//go:linkname afterForkInChild syscall.runtime_AfterForkInChild
func afterForkInChild()

// cloneArgs is struct clone_args of clone3(2), up to and including the cgroup.
type cloneArgs struct {
	flags, pidfd, childTID, parentTID, exitSignal, stack, stackSize, tls, setTID, setTIDSize, cgroup uint64
}

// kernelSigaction is large enough for struct sigaction on every architecture; all zero is the default action.
type kernelSigaction [4]uint64

// lastSignal is the highest signal number.
const lastSignal = 64

// clone starts the child that runs p, in the namespaces flags name and, where cgroup is not negative, directly in
// that unified cgroup. It must be called on the thread whose namespaces the child shall have.
//
// The child gets a copy of the memory, not the memory itself: a container's memory limit or a debugger inside it
// must never reach this process.
func clone(p *program, flags uintptr, cgroup int) (pid int, pidfd *os.File, err error) {
	fd := new(int32)
	args := &cloneArgs{
		flags:      uint64(flags) | unix.CLONE_PIDFD,
		pidfd:      uint64(onHeap(p, fd)),
		exitSignal: uint64(unix.SIGCHLD),
	}
	size := unsafe.Offsetof(args.cgroup)
	if cgroup >= 0 {
		args.flags |= unix.CLONE_INTO_CGROUP
		args.cgroup = uint64(cgroup)
		size = unsafe.Sizeof(*args)
	}
	request := [3]uintptr{unix.SYS_CLONE3, onHeap(p, args), size}
	child, errno := fork(p, &request, uintptr(args.pidfd))
	if errno == unix.ENOSYS && cgroup < 0 {
		// A container's usual filter hides clone3, whose flags it could not look at.
		request = [3]uintptr{unix.SYS_CLONE, uintptr(args.flags) | uintptr(unix.SIGCHLD), 0}
		child, errno = fork(p, &request, uintptr(args.pidfd))
	}
	if errno != 0 {
		return 0, nil, fmt.Errorf("clone: %w", errno)
	}
	// Not blocking, the descriptor can be waited for without a thread.
	if err := unix.SetNonblock(int(*fd), true); err != nil {
		return 0, nil, fmt.Errorf("clone: %w", err)
	}
	return int(child), os.NewFile(uintptr(*fd), "pidfd"), nil
}

// scratch is what a child writes to: nothing may be allocated there.
type scratch struct {
	failure [2]uint32
	results [registers]uintptr
	action  kernelSigaction
	mask    uint64
}

// fork is where the process becomes two, by clone3 or clone as request says: the call and its first two arguments.
// The third is clone's place for the pid descriptor. What runs in the child touches only what the parent laid ready.
//
//go:noinline
//go:norace
//go:nocheckptr
func fork(p *program, request *[3]uintptr, pidfd uintptr) (uintptr, syscall.Errno) {
	var s scratch
	var rest *tape
	if p.shared != nil {
		rest = p.shared.tape
	}
	beforeFork()
	pid, _, errno := syscall.RawSyscall6(request[0], request[1], request[2], pidfd, 0, 0, 0)
	if errno != 0 || pid != 0 {
		afterFork()
		return pid, errno
	}
	afterForkInChild()
	// Whatever this process was told to ignore or block is no business of the container.
	for sig := uintptr(1); sig <= lastSignal; sig++ {
		syscall.RawSyscall6(unix.SYS_RT_SIGACTION, sig, uintptr(unsafe.Pointer(&s.action)), 0, 8, 0, 0)
	}
	syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&s.mask)), 0, 8, 0, 0)
	next, count, done := unsafe.Pointer(unsafe.SliceData(p.calls)), uintptr(len(p.calls)), uintptr(0)
	for {
		for i := uintptr(0); i < count; i++ {
			c := (*call)(unsafe.Add(next, i*unsafe.Sizeof(call{})))
			a := c.args
			for n := 0; n < len(a); n++ {
				if c.refs&(1<<uint(n)) != 0 {
					a[n] = s.results[a[n]&(registers-1)]
				}
			}
			r, _, e := syscall.RawSyscall6(c.nr, a[0], a[1], a[2], a[3], a[4], a[5])
			if c.into >= 0 {
				s.results[c.into&(registers-1)] = r
			}
			if c.out != nil && e == 0 {
				*c.out = r
			}
			switch {
			case e != 0 && (c.check == ignoreError || e == c.tolerate):
			case e != 0:
				s.failure = [2]uint32{uint32(done + i), uint32(e)}
				syscall.RawSyscall(unix.SYS_WRITE, uintptr(p.report), uintptr(unsafe.Pointer(&s.failure)), recordSize)
				exitChild()
			case c.check == exactlyOne && r != 1, c.check == onlyZero && r != 0:
				exitChild()
			}
		}
		if rest == nil || done != 0 {
			exitChild()
		}
		next, count, done = rest.calls, rest.count, count
	}
}

// exitChild ends the child, by a fault where a filter that lets nothing through keeps it from ending itself: a fault is no system
// call, and ends the first process of a container as well, for which its default action stands again.
//
//go:nosplit
//go:norace
func exitChild() {
	for {
		syscall.RawSyscall(unix.SYS_EXIT_GROUP, statusFailed, 0, 0)
		*nowhere = 0
	}
}

// nowhere stays nil: no process has memory there.
var nowhere *uintptr

// errChildGone is a child that ended without saying why.
var errChildGone = errors.New("the container's process ended unexpectedly")

// listen reads the child's next record: nil once it has come to the mark, else what went wrong. With alive, the child
// is gone when that pid descriptor says so, and else when the pipe ends.
func (p *program) listen(fd int, mark uint32, alive int) error {
	b := make([]byte, recordSize)
	for {
		if alive >= 0 {
			if gone, err := awaitRecord(fd, alive); gone || err != nil {
				return errors.Join(err, errChildGone)
			}
		}
		n, err := unix.Read(fd, b)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return fmt.Errorf("read from the container's process: %w", err)
		case n == 0:
			return errChildGone
		case string(b[:n]) == string(record(mark, 0)):
			return nil
		default:
			return p.failure(b)
		}
	}
}

// awaitRecord waits until there is something to read; gone tells that there is nothing and the child has ended.
func awaitRecord(fd, alive int) (gone bool, err error) {
	set := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}, {Fd: int32(alive), Events: unix.POLLIN}}
	for patience := -1; ; {
		_, err := unix.Poll(set, patience)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return false, err
		case set[0].Revents != 0:
			return false, nil
		case patience == 0:
			return true, nil
		}
		patience = 0 // it may have written just before it ended
	}
}
