// Package spec turns a container's settings into an OCI runtime document, as a list of small rules. They decide
// and read nothing but device nodes' numbers and which processors there are, so they are tested without root.
//
// The document follows the OCI runtime specification 1.3; the defaults (capabilities, masked paths, devices,
// seccomp profile) are those a Docker user expects.
package spec

import (
	"os"

	ct "github.com/moby/moby/api/types/container"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// Namespace says which namespace of one kind a container gets.
type Namespace struct {
	// Host shares the host's.
	Host bool
	// Path joins an existing one, as /proc/PID/ns/KIND. Empty and not Host means a new one.
	Path string
}

// Users is how a user namespace's users and groups are numbered outside.
type Users struct{ Users, Groups []specs.LinuxIDMapping }

// Mount is one resolved mount of a container: where it comes from on this host and how it appears inside.
type Mount struct {
	// Type is "bind" (a host path or a volume's folder) or a file system type such as "tmpfs" or "nfs".
	Type string
	// Source is a host path for a bind, else what the file system takes as its source.
	Source string
	// Room is a mount namespace at whose root lies what a bind shows; nil: its source is a path.
	Room *os.File
	// Subpath is the part of a bind's source that is shown; links in it are resolved inside the source.
	Subpath string
	// Target is the path inside; links in it are resolved inside the root.
	Target string
	// Options are extra mount options in the words of mount(8).
	Options []string
	// Owned tells that what is there lies on the disk with the numbers that users have in the container, as layers and
	// volumes do; MayOwn leaves it as it is where the kernel cannot show it so.
	Owned, MayOwn bool
	// ReadOnly makes the mount and everything below it read-only.
	ReadOnly bool
	// ReadOnlyNonRecursive leaves mounts below a read-only bind as they are.
	ReadOnlyNonRecursive bool
	// NonRecursive binds without the mounts below the source.
	NonRecursive bool
	// Propagation is one of the names of mount propagation; empty is rprivate.
	Propagation string
}

// Settings is all that decides a container's document. Everything is resolved: paths exist, names are looked up.
type Settings struct {
	ID         string
	Config     *ct.Config
	HostConfig *ct.HostConfig
	// Args is the entry point and its arguments, the program first.
	Args []string
	// Hostname and Domainname as the container sees them.
	Hostname, Domainname string
	// Linked are variables that tell of linked containers; those of Config go before them.
	Linked []string
	// Hosts, ResolvConf and HostnameFile are host paths of the files the engine manages; empty: not mounted.
	Hosts, ResolvConf, HostnameFile string
	// Mounts in any order; they are sorted so that a parent comes before what lies in it.
	Mounts []Mount
	// PID, IPC, UTS, Net and Cgroup tell which namespaces to use.
	PID, IPC, UTS, Net, Cgroup Namespace
	// Users is how the container's own user namespace is numbered; nil: it has the host's.
	Users *Users
	// ShmSource is a host path to bind at /dev/shm instead of a new tmpfs (shared IPC); empty: new.
	ShmSource string
	// CgroupPath is the container's cgroup, relative to the hierarchy ("/cove/ID").
	CgroupPath string
	// CgroupV2 tells that the host's hierarchy is the unified one.
	CgroupV2 bool
	// Ulimits are the engine's defaults, by name, for what HostConfig does not set.
	Ulimits []*ct.Ulimit
	// SeccompProfile is the engine's default profile as JSON; empty: the built-in one.
	SeccompProfile string
	// NoNewPrivileges is the engine's default.
	NoNewPrivileges bool
	// AppArmor gives the profile that is the engine's default, which the kernel knows then; nil: there is none.
	AppArmor func() (string, error)
	// DefaultShmSize is used where HostConfig has none, in bytes.
	DefaultShmSize int64
}

// rule writes one aspect of the settings into the document.
type rule func(Settings, *specs.Spec) error

// Document makes the OCI document of s. Errors are errdefs.ErrInvalidArgument where a setting is at fault.
func Document(s Settings) (*specs.Spec, error) {
	doc := &specs.Spec{
		Version:  specs.Version,
		Process:  &specs.Process{},
		Root:     &specs.Root{Path: "rootfs", Readonly: s.HostConfig.ReadonlyRootfs},
		Hostname: s.Hostname,
		Linux:    &specs.Linux{CgroupsPath: s.CgroupPath, Resources: &specs.LinuxResources{}},
	}
	for _, apply := range []rule{
		process, capabilities, namespaces, mounts, managedFiles, paths, devices, limits, blockIO, sysctls, rlimits, security,
	} {
		if err := apply(s, doc); err != nil {
			return nil, err // the rules' messages are the user's own words back; a prefix would only blur them
		}
	}
	return doc, nil
}
