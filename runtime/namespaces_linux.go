package runtime

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/cove-containers/cove/sys"
)

// namespaces says which namespaces a container gets: those in create are new, those in join exist, and what is in
// neither is the host's.
type namespaces struct {
	create uintptr
	join   []joined
	// users is a user namespace to join, which only a process can.
	users *os.File
}

type joined struct {
	flag uintptr
	file *os.File
}

var namespaceFlags = map[specs.LinuxNamespaceType]uintptr{
	specs.MountNamespace: unix.CLONE_NEWNS, specs.UTSNamespace: unix.CLONE_NEWUTS, specs.IPCNamespace: unix.CLONE_NEWIPC,
	specs.NetworkNamespace: unix.CLONE_NEWNET, specs.PIDNamespace: unix.CLONE_NEWPID,
	specs.CgroupNamespace: unix.CLONE_NEWCGROUP, specs.TimeNamespace: unix.CLONE_NEWTIME,
	specs.UserNamespace: unix.CLONE_NEWUSER,
}

// readNamespaces opens the namespaces to join.
func readNamespaces(list []specs.LinuxNamespace, network, users *os.File) (n namespaces, err error) {
	defer func() {
		if err != nil {
			n.Close()
		}
	}()
	seen := map[specs.LinuxNamespaceType]bool{}
	for _, ns := range list {
		flag, known := namespaceFlags[ns.Type]
		switch {
		case !known:
			return n, fmt.Errorf("unknown namespace %q: %w", ns.Type, errdefs.ErrInvalidArgument)
		case seen[ns.Type]:
			return n, fmt.Errorf("malformed spec: duplicate namespace %q: %w", ns.Type, errdefs.ErrInvalidArgument)
		}
		seen[ns.Type] = true
		switch {
		case ns.Type == specs.NetworkNamespace && network != nil, ns.Type == specs.UserNamespace && users != nil:
		case ns.Path == "":
			n.create |= flag
		default:
			f, err := os.Open(ns.Path)
			if err != nil {
				return n, fmt.Errorf("open namespace: %w", err)
			}
			if kind, err := unix.IoctlRetInt(int(f.Fd()), unix.NS_GET_NSTYPE); err != nil || uintptr(kind) != flag {
				f.Close()
				return n, fmt.Errorf("%s is no %s namespace: %w", ns.Path, ns.Type, errdefs.ErrInvalidArgument)
			}
			// The host's by its path is the host's: what is set in a container's own is not set there. A "network" is called "net".
			if flag&(unix.CLONE_NEWUTS|unix.CLONE_NEWIPC|unix.CLONE_NEWNET|unix.CLONE_NEWUSER) != 0 && sys.InNamespace(f, strings.TrimSuffix(string(ns.Type), "work")) {
				f.Close()
				continue
			}
			if flag == unix.CLONE_NEWUSER {
				n.users = f
				continue
			}
			n.join = append(n.join, joined{flag, f})
		}
	}
	if network != nil {
		copied, err := aboveStandard(network, 0)
		if err != nil {
			return n, err
		}
		n.join = append(n.join, joined{unix.CLONE_NEWNET, copied})
	}
	if users != nil {
		n.users, err = aboveStandard(users, 0)
	}
	return n, err
}

// Close closes the namespaces' files.
func (n *namespaces) Close() {
	for _, j := range n.join {
		j.file.Close()
	}
	closeAll([]*os.File{n.users})
	n.join, n.users = nil, nil
}

// ownUsers tells whether the container's user namespace is not the host's.
func (n *namespaces) ownUsers() bool { return n.users != nil || n.create&unix.CLONE_NEWUSER != 0 }

// withProcess are the new namespaces that come with the process: its pid namespace, and all that a user namespace
// shall own. The cgroup namespace can only be made inside the cgroup.
func (n *namespaces) withProcess() uintptr {
	if !n.ownUsers() {
		return n.create & unix.CLONE_NEWPID
	}
	return n.create &^ (unix.CLONE_NEWCGROUP | unix.CLONE_NEWTIME)
}

// cgroups is a cgroup namespace that the process joins once it is in its cgroup, else nil: from inside, the kernel lets nobody into a cgroup that
// is not below (cgroup2 with nsdelegate). A process in a user namespace of its own could not, and has it from the thread.
func (n *namespaces) cgroups() *os.File {
	for _, j := range n.join {
		if j.flag == unix.CLONE_NEWCGROUP && !n.ownUsers() {
			return j.file
		}
	}
	return nil
}

// has tells whether the container does not have the host's namespace of this kind.
func (n *namespaces) has(flag uintptr) bool {
	for _, j := range n.join {
		if j.flag == flag {
			return true
		}
	}
	return n.create&flag != 0
}

// byProcess are those of the container's namespaces that a thread among others cannot join.
func (n *namespaces) byProcess() (flags uintptr) {
	if n.has(unix.CLONE_NEWTIME) {
		flags |= unix.CLONE_NEWTIME
	}
	if n.ownUsers() {
		flags |= unix.CLONE_NEWUSER
	}
	return flags
}

// parametersOfIPC are the kernel parameters, besides fs.mqueue.*, that an IPC namespace has for itself.
var parametersOfIPC = []string{
	"kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall", "kernel.shmmax", "kernel.shmmni",
	"kernel.shm_rmid_forced",
}

// own tells whether a kernel parameter is the container's own, so that the host's stays as it is.
func (n *namespaces) own(parameter string) bool {
	parameter = strings.ReplaceAll(parameter, "/", ".")
	switch {
	case strings.HasPrefix(parameter, "net."):
		return n.has(unix.CLONE_NEWNET)
	case strings.HasPrefix(parameter, "fs.mqueue."), slices.Contains(parametersOfIPC, parameter):
		return n.has(unix.CLONE_NEWIPC)
	case parameter == "kernel.hostname", parameter == "kernel.domainname":
		return n.has(unix.CLONE_NEWUTS)
	}
	return false
}

// enter moves the calling thread into the namespaces that exist or do not come with the process.
func (n *namespaces) enter(offsets map[string]specs.LinuxTimeOffset) error {
	flags := n.create &^ (n.withProcess() | unix.CLONE_NEWCGROUP)
	if err := unix.Unshare(int(flags | unix.CLONE_FS)); err != nil {
		return fmt.Errorf("make namespaces: %w", err)
	}
	// What is made inside gets exactly the mode it is given.
	unix.Umask(0)
	later := n.cgroups()
	for _, j := range n.join {
		if j.file == later {
			continue
		}
		if err := unix.Setns(int(j.file.Fd()), int(j.flag)); err != nil {
			return fmt.Errorf("join namespace %s: %w", j.file.Name(), err)
		}
	}
	if n.create&unix.CLONE_NEWTIME != 0 {
		if err := setTimeOffsets(offsets); err != nil {
			return fmt.Errorf("set time offsets: %w", err)
		}
	}
	if flags&unix.CLONE_NEWNET != 0 {
		return sys.RaiseLoopback()
	}
	return nil
}

// follow moves the calling thread into those namespaces that came with the process, as far as a thread can.
func (n *namespaces) follow(pidfd int) error {
	flags := n.withProcess() &^ (unix.CLONE_NEWUSER | unix.CLONE_NEWPID)
	if flags == 0 {
		return nil
	}
	if err := unix.Setns(pidfd, int(flags)); err != nil {
		return fmt.Errorf("join the process's namespaces: %w", err)
	}
	if flags&unix.CLONE_NEWNET != 0 {
		return sys.RaiseLoopback()
	}
	return nil
}

func setTimeOffsets(offsets map[string]specs.LinuxTimeOffset) error {
	var lines strings.Builder
	for clock, o := range offsets {
		fmt.Fprintf(&lines, "%s %d %d\n", clock, o.Secs, o.Nanosecs)
	}
	if lines.Len() == 0 {
		return nil
	}
	// Only processes have the file, but a thread is found by its own number as well.
	return os.WriteFile("/proc/"+strconv.Itoa(unix.Gettid())+"/timens_offsets", []byte(lines.String()), 0)
}
