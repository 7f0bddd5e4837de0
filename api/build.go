package api

import (
	ct "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/registry"
)

// BuildOptions are the parameters of the classic build call.
type BuildOptions struct {
	// BuildKit is version=2: progress in BuildKit's own words, files and secrets from the client's Session.
	BuildKit bool
	// ID names the build for a cancellation.
	ID      string
	Session string

	Tags       []string // with their default tags
	Dockerfile string
	Remote     string // where the context is, when it is not the body; "client-session" is the session
	Target     string
	Platform   string
	Args       map[string]*string // nil values are those that the client has no value for
	Labels     map[string]string
	CacheFrom  []string
	Outputs    []BuildOutput

	NoCache, Pull, Quiet, Squash bool

	Network      string
	ExtraHosts   []string // NAME:IP, or NAME=IP
	CgroupParent string
	Ulimits      []*ct.Ulimit
	ShmSize      int64

	Memory, MemorySwap             int64
	CPUShares, CPUPeriod, CPUQuota int64
	CPUSetCPUs, CPUSetMems         string

	// Auth are credentials by registry.
	Auth map[string]registry.AuthConfig
}

// BuildOutput says where to bring what was built.
type BuildOutput struct {
	Type  string
	Attrs map[string]string
}

// BuildPruneOptions pick what of the build cache is removed.
type BuildPruneOptions struct {
	All     bool
	Filters []string // in the words of BuildKit's cache
	// Unused is how long a record has not been used, at least, in nanoseconds.
	Unused                                    int64
	ReservedSpace, MaxUsedSpace, MinFreeSpace int64
}

// BuildFailure is a command of a build that ended with a status other than 0. Its text is the classic one.
type BuildFailure struct {
	Message string
	Code    int
}

func (f *BuildFailure) Error() string { return f.Message }
