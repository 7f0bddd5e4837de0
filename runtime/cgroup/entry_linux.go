package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Entry is what a new process needs to enter a group.
type Entry struct {
	// Tasks are files to which the process itself writes "0" while it has one thread: the kernel then needs to wait
	// for nobody. Empty where the process can be cloned into its group.
	Tasks []*os.File
	// Dir is the group's folder on the unified hierarchy, into which the process is cloned; else nil.
	Dir *os.File
}

// Close closes the entry's files.
func (e *Entry) Close() {
	for _, f := range e.Tasks {
		f.Close()
	}
	if e.Dir != nil {
		e.Dir.Close()
	}
}

// Admit puts a process that exists, and has one thread, into the group.
func (e *Entry) Admit(pid int) error {
	files := e.Tasks
	if e.Dir != nil {
		f, err := os.OpenFile("/proc/self/fd/"+strconv.Itoa(int(e.Dir.Fd()))+"/cgroup.procs", os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		files = []*os.File{f}
	}
	for _, f := range files {
		if _, err := f.WriteString(strconv.Itoa(pid)); err != nil {
			return fmt.Errorf("enter cgroup: %w", err)
		}
	}
	return nil
}

// Entry opens the group for new processes.
func (c *Cgroup) Entry() (*Entry, error) {
	if c.host.unified {
		return enterUnified(c.dir(""))
	}
	return c.enter(func(hierarchy) string { return "" })
}

// enter opens the group in each older hierarchy; where it is gone, the one that instead names.
func (c *Cgroup) enter(instead func(hierarchy) string) (*Entry, error) {
	e := &Entry{}
	for _, h := range c.host.hierarchies {
		f, err := os.OpenFile(h.mount+c.path+"/tasks", os.O_WRONLY, 0)
		if errors.Is(err, fs.ErrNotExist) {
			if place := instead(h); place != "" {
				f, err = os.OpenFile(h.mount+place+"/tasks", os.O_WRONLY, 0)
			}
		}
		if err != nil {
			e.Close()
			return nil, fmt.Errorf("enter cgroup: %w", err)
		}
		e.Tasks = append(e.Tasks, f)
	}
	return e, nil
}

// EntryBeside opens the group for a further process of a container whose first one is pid. On the unified hierarchy
// a group that hands controllers down takes no processes itself: an init system inside has moved them below, and the
// new one goes where the first one is. So it does in an older one where such a system has moved out and cleared up.
func (c *Cgroup) EntryBeside(pid int) (*Entry, error) {
	if !c.host.unified {
		return c.enter(func(h hierarchy) string { return placeOf(pid, h) })
	}
	given, err := read(c.dir(""), "cgroup.subtree_control")
	if err != nil || given == "" {
		return c.Entry()
	}
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cgroup")
	if err != nil {
		return nil, fmt.Errorf("find cgroup of process %d: %w", pid, err)
	}
	for line := range strings.Lines(string(text)) {
		if place, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok && strings.HasPrefix(place+"/", c.path+"/") {
			return enterUnified(c.host.hierarchies[0].mount + place)
		}
	}
	return c.Entry()
}

// placeOf is the group that a process has in one of the older hierarchies, empty where that cannot be told.
func placeOf(pid int, h hierarchy) string {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cgroup")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		parts := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(parts) < 3 {
			continue
		}
		if first, _, _ := strings.Cut(parts[1], ","); h.controls(first) {
			return parts[2]
		}
	}
	return ""
}

func enterUnified(dir string) (*Entry, error) {
	e, name, flags := &Entry{}, dir, unix.O_PATH|unix.O_DIRECTORY
	if !canCloneInto() {
		name, flags = dir+"/cgroup.procs", os.O_WRONLY
	}
	f, err := os.OpenFile(name, flags, 0)
	if err != nil {
		return nil, fmt.Errorf("enter cgroup: %w", err)
	}
	if canCloneInto() {
		e.Dir = f
	} else {
		e.Tasks = []*os.File{f}
	}
	return e, nil
}

// canCloneInto tells whether the kernel clones processes into groups. It is asked with a descriptor that is none:
// who understands the question answers that.
var canCloneInto = sync.OnceValue(func() bool {
	args := struct {
		flags, pidfd, childTID, parentTID, exitSignal, stack, stackSize, tls, setTID, setTIDSize, cgroup uint64
	}{flags: unix.CLONE_INTO_CGROUP, exitSignal: uint64(unix.SIGCHLD), cgroup: 1 << 30}
	_, _, errno := unix.RawSyscall(unix.SYS_CLONE3, uintptr(unsafe.Pointer(&args)), unsafe.Sizeof(args), 0)
	return errors.Is(errno, unix.EBADF)
})
