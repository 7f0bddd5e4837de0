// Package container keeps the records of containers: their settings, names and the state each is in.
//
// A record handed out is a snapshot that nobody changes afterwards: a change makes a new record in its place.
// Changes are durable before they return, or, where a shim could tell the same again, written a moment later
// together with others (see Store.Note).
//
//	cove.db
//	    containers             bucket: ID → record as JSON, format 1
//	<data-root>/
//	    image/overlayfs/layerdb/
//	        mounts             link to containers/, made by the daemon: where such programs look
//	    containers/
//	        <id>/
//	            hostname       mounted over /etc/hostname
//	            hosts          mounted over /etc/hosts
//	            resolv.conf    mounted over /etc/resolv.conf
//	            <id>-json.log  output, by package logs, with rotated files beside it
//	            local.log      the same with the log driver local
//	            checkpoints    states of the container that were kept, a folder by name for each: see runtime/checkpoint
//	            mount-id       its ID: the file that programs which watch containers look for
//	            volumes        while it is made or removed: the volumes that go with it if that is cut short
package container

import (
	"net/netip"
	"path"
	"time"

	ct "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	nt "github.com/moby/moby/api/types/network"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Container is the record of one container: what it was created with and the state it is in.
type Container struct {
	ID string
	// Name is the container's own name, without Docker's leading slash.
	Name    string
	Created time.Time
	// Path and Args are the resolved entry point and its arguments.
	Path string
	Args []string
	// Config and HostConfig are complete: the image's settings are merged in.
	Config     *ct.Config
	HostConfig *ct.HostConfig
	// Image is the ID of the image the container was made from; Config.Image is how the user called it.
	Image    digest.Digest
	Manifest *ocispec.Descriptor
	Platform ocispec.Platform
	// DiffIDs are the image's layers, lowest first.
	DiffIDs []digest.Digest
	Mounts  []Mount
	// Wished are the endpoints by network name as asked for; Networks are those filled in while running.
	Wished, Networks map[string]*nt.EndpointSettings
	// LastAddresses, and LastAddresses6 of IPv6, are what it had on each network when it ran last.
	LastAddresses  map[string]netip.Addr `json:",omitempty"`
	LastAddresses6 map[string]netip.Addr `json:",omitempty"`
	// SandboxID names the network namespace while running.
	SandboxID string
	// Ports are the published ports while running, with the host ports chosen.
	Ports nt.PortMap
	// LogPath is the file the log driver writes; empty for drivers without one.
	LogPath string
	State   State
	// RestartCount is how often the restart policy started it again since the last start by hand.
	RestartCount int
	// Started tells that the container was started at least once.
	Started bool
	// StoppedByHand tells that a user stopped it, so that a policy other than "always" lets it lie.
	StoppedByHand bool
}

// Mount is one resolved mount of a container.
type Mount struct {
	Type mount.Type
	// Name and Driver are set for a volume.
	Name, Driver string
	// Source is the host path of a bind, an image's name as it was given; a volume's is asked of the volume store at start.
	Source string
	// Image and DiffIDs are what is shown of an image.
	Image   digest.Digest   `json:",omitempty"`
	DiffIDs []digest.Digest `json:",omitempty"`
	Target  string
	RW      bool
	// Mode is what the user wrote after the second colon of -v.
	Mode        string
	Propagation mount.Propagation
	// Anonymous tells that the volume was made for this container without a name and goes with it on rm -v.
	Anonymous bool
	// Spec is the mount as a --mount request described it; nil for -v, --tmpfs and image volumes.
	Spec *mount.Mount
	// Options are the options of a --tmpfs.
	Options string
	// FromTmpfs tells that it came from HostConfig.Tmpfs, which inspect does not list among the mounts.
	FromTmpfs bool
}

// ShortID is the first 12 digits of the ID.
func (c *Container) ShortID() string { return c.ID[:min(12, len(c.ID))] }

// Dir is the container's folder under the data root.
func (c *Container) Dir(dataRoot string) string { return path.Join(dataRoot, "containers", c.ID) }

// AutoRemove tells whether the container goes away by itself once it has ended.
func (c *Container) AutoRemove() bool { return c.HostConfig.AutoRemove }

// StopSignal is the signal, by name or number, that asks the container to end.
func (c *Container) StopSignal() string {
	if c.Config.StopSignal != "" {
		return c.Config.StopSignal
	}
	return "SIGTERM"
}

// StopTimeout is how many seconds it gets between that signal and KILL; negative means for ever.
func (c *Container) StopTimeout() int {
	if c.Config.StopTimeout != nil {
		return *c.Config.StopTimeout
	}
	return 10
}
