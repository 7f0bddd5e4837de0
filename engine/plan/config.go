package plan

import (
	"net/netip"

	ct "github.com/moby/moby/api/types/container"

	"github.com/cove-containers/cove/spec"
)

// Config is the part of the daemon's settings that decides over containers.
type Config struct {
	// Root and ExecRoot are the daemon's two folders.
	Root, ExecRoot string
	// CgroupParent is the group all containers live under ("/cove"), or a systemd slice.
	CgroupParent string
	// Mark is this instance's own, part of every host-wide name; empty for the default instance.
	Mark string
	// Name is the daemon's name for others; empty is the host's.
	Name string
	// Labels are the daemon's own.
	Labels []string
	// LogDriver and LogOptions are for containers that name no driver.
	LogDriver  string
	LogOptions map[string]string
	// Runtimes are the OCI runtimes by name and path; the empty path is Cove's own.
	Runtimes       map[string]string
	DefaultRuntime string
	// DNS, DNSSearch and DNSOptions are for containers that name none.
	DNS                   []netip.Addr
	DNSSearch, DNSOptions []string
	// IpcMode and CgroupnsMode are for containers that say nothing else; "" is private.
	IpcMode      ct.IpcMode
	CgroupnsMode ct.CgroupnsMode
	// Ulimits are defaults by name.
	Ulimits []*ct.Ulimit
	// ShmSize is the default size of /dev/shm in bytes, 0 is 64 MB.
	ShmSize int64
	// Init runs an init process in containers that do not say otherwise.
	Init bool
	// NoNewPrivileges is the default of that security option, SeccompProfile the JSON of a profile of the user's.
	NoNewPrivileges bool
	SeccompProfile  string
	// AppArmor gives the profile of containers that ask for none, as spec.Settings has it; nil: they have none.
	AppArmor func() (string, error)
	// Remap has containers live in user namespaces of their own, unless they ask for the host's; nil: all have the host's.
	Remap *spec.Users
	// InsecureRegistries and Mirrors are shown by info.
	InsecureRegistries, Mirrors []string
	// Debug is shown by info, Experimental by version; they change nothing here.
	Debug, Experimental bool
}
