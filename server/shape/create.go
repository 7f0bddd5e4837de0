package shape

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	ct "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	nt "github.com/moby/moby/api/types/network"
)

// CreateBody is what clients of all ages send: the newest request, and the fields of old ones.
type CreateBody struct {
	ct.CreateRequest
	// Cmd and Entrypoint may be one string.
	Cmd, Entrypoint oneOrMore
	// MacAddress was the container's before it became an endpoint's.
	MacAddress nt.HardwareAddr
}

// oneOrMore is a list of strings that may be written as one string.
type oneOrMore []string

// UnmarshalJSON takes both forms.
func (o *oneOrMore) UnmarshalJSON(raw []byte) error {
	var one string
	if len(raw) > 0 && raw[0] == '"' {
		if err := json.Unmarshal(raw, &one); err != nil {
			return err
		}
		*o = oneOrMore{one}
		return nil
	}
	return json.Unmarshal(raw, (*[]string)(o))
}

// DecodeCreate reads a request so that nothing in it is nil that the engine would have to ask for.
func DecodeCreate(body io.Reader) (*CreateBody, error) {
	var r CreateBody
	if err := DecodeJSON(body, &r); err != nil {
		return nil, err
	}
	if r.Config == nil && (r.Cmd != nil || r.Entrypoint != nil) {
		r.Config = &ct.Config{}
	}
	if r.Config == nil {
		return nil, bad("config cannot be empty in order to create a container")
	}
	r.Config.Cmd, r.Config.Entrypoint = r.Cmd, r.Entrypoint
	if r.HostConfig == nil {
		r.HostConfig = &ct.HostConfig{}
	}
	if r.NetworkingConfig == nil {
		r.NetworkingConfig = &nt.NetworkingConfig{}
	}
	endpoints := r.NetworkingConfig.EndpointsConfig
	if endpoints == nil {
		endpoints = map[string]*nt.EndpointSettings{}
		r.NetworkingConfig.EndpointsConfig = endpoints
	}
	for name, endpoint := range endpoints {
		if endpoint == nil {
			return nil, bad("no EndpointSettings for " + name)
		}
	}
	if mode := r.HostConfig.NetworkMode; mode == "" || mode.IsDefault() {
		r.HostConfig.NetworkMode = nt.NetworkBridge
		if endpoint, ok := endpoints[nt.NetworkDefault]; ok {
			delete(endpoints, nt.NetworkDefault)
			endpoints[nt.NetworkBridge] = endpoint
		}
	}
	if limit := r.HostConfig.PidsLimit; limit != nil && *limit <= 0 {
		r.HostConfig.PidsLimit = nil
	}
	return &r, nil
}

// adaptation makes a request mean what it meant in the client's API version. What it returns is a warning.
type adaptation func(v Version, r *CreateBody) (warning string, err error)

// AdaptCreate applies every adaptation, oldest version first.
func AdaptCreate(v Version, r *CreateBody) (warnings []string, err error) {
	for _, adapt := range []adaptation{ignoreLaterFields, oldDefaults, checkMountOptions, refuseLaterFields, moveMAC, warnVolumeDriver} {
		warning, err := adapt(v, r)
		if err != nil {
			return nil, err
		}
		if warning != "" {
			warnings = append(warnings, warning)
		}
	}
	return warnings, nil
}

// ignoreLaterFields drops what the client's version did not know: older daemons did not look at it either.
func ignoreLaterFields(v Version, r *CreateBody) (string, error) {
	host := r.HostConfig
	if v < 1025 { // the client removes the container itself
		host.AutoRemove = false
	}
	for i := range host.Mounts {
		m := &host.Mounts[i]
		if m.BindOptions != nil && v < 1040 {
			m.BindOptions.NonRecursive = false
		}
		if v >= 1042 {
			continue
		}
		if m.BindOptions != nil {
			m.BindOptions.CreateMountpoint = false
		}
		if m.Type != mount.TypeVolume {
			m.VolumeOptions = nil
		}
		if m.Type != mount.TypeTmpfs {
			m.TmpfsOptions = nil
		}
	}
	if v < 1042 {
		host.ConsoleSize = [2]uint{}
	}
	if v < 1043 {
		host.Annotations = nil
	}
	if v < 1044 && r.Config.Healthcheck != nil {
		r.Config.Healthcheck.StartInterval = 0
	}
	if v < 1048 {
		for _, endpoint := range r.NetworkingConfig.EndpointsConfig {
			endpoint.GwPriority = 0
		}
	}
	if v < 1056 {
		host.Umask = nil
	}
	return "", nil
}

// oldDefaults fills in what an absent setting meant.
func oldDefaults(v Version, r *CreateBody) (string, error) {
	host := r.HostConfig
	if v < 1040 && host.IpcMode.IsEmpty() {
		host.IpcMode = ct.IPCModeShareable
	}
	for i := range host.Mounts {
		m := &host.Mounts[i]
		if v >= 1044 || m.Type != mount.TypeBind || !m.ReadOnly {
			continue
		}
		// Read-only meant the mount itself, not the mounts below it.
		if m.BindOptions == nil {
			m.BindOptions = &mount.BindOptions{}
		}
		m.BindOptions.ReadOnlyNonRecursive = !m.BindOptions.ReadOnlyForceRecursive
	}
	return "", nil
}

func checkMountOptions(v Version, r *CreateBody) (string, error) {
	for _, m := range r.HostConfig.Mounts {
		switch {
		case v < 1042:
		case m.VolumeOptions != nil && m.Type != mount.TypeVolume:
			return "", bad(fmt.Sprintf("VolumeOptions must not be specified on mount type %q", m.Type))
		case m.BindOptions != nil && m.Type != mount.TypeBind:
			return "", bad(fmt.Sprintf("BindOptions must not be specified on mount type %q", m.Type))
		case m.TmpfsOptions != nil && m.Type != mount.TypeTmpfs:
			return "", bad(fmt.Sprintf("TmpfsOptions must not be specified on mount type %q", m.Type))
		}
	}
	return "", nil
}

// refuseLaterFields fails where passing over a field would do something else than the client believes.
func refuseLaterFields(v Version, r *CreateBody) (string, error) {
	for _, m := range r.HostConfig.Mounts {
		switch {
		case v < 1044 && m.BindOptions != nil && m.BindOptions.ReadOnlyForceRecursive:
			return "", bad("BindOptions.ReadOnlyForceRecursive needs API v1.44 or newer")
		case v < 1045 && m.VolumeOptions != nil && m.VolumeOptions.Subpath != "":
			return "", bad("VolumeOptions.Subpath needs API v1.45 or newer")
		case v < 1048 && m.Type == mount.TypeImage:
			return "", bad(`Mount type "Image" needs API v1.48 or newer`)
		}
	}
	if endpoints := r.NetworkingConfig.EndpointsConfig; v < 1044 && len(endpoints) > 1 {
		names := make([]string, 0, len(endpoints))
		for name := range endpoints {
			names = append(names, name)
		}
		slices.Sort(names)
		return "", bad("Container cannot be created with multiple network endpoints: " + strings.Join(names, ", "))
	}
	return "", nil
}

// moveMAC gives the container-wide address of clients before API 1.52 to the endpoint it was meant for.
func moveMAC(v Version, r *CreateBody) (string, error) {
	endpoints := r.NetworkingConfig.EndpointsConfig
	if v < 1044 {
		for _, endpoint := range endpoints {
			endpoint.MacAddress = nil // was not looked at
		}
	}
	if len(r.MacAddress) == 0 || v >= 1052 {
		return "", nil
	}
	mode := r.HostConfig.NetworkMode
	onNetwork := mode.IsBridge() || mode.IsUserDefined()
	if v < 1044 && !onNetwork {
		return "", bad("conflicting options: mac-address and the network mode")
	}
	if onNetwork {
		endpoint, err := mainEndpoint(v, mode.NetworkName(), endpoints)
		if err != nil {
			return "", err
		}
		if len(endpoint.MacAddress) > 0 && !slices.Equal(endpoint.MacAddress, r.MacAddress) {
			return "", bad("the container-wide MAC address must match the endpoint-specific MAC address for the main network, or be left empty")
		}
		endpoint.MacAddress = r.MacAddress
	}
	if v < 1044 {
		return "", nil
	}
	return "The container-wide MacAddress field is now deprecated. It should be specified in EndpointsConfig instead.", nil
}

func mainEndpoint(v Version, name string, endpoints map[string]*nt.EndpointSettings) (*nt.EndpointSettings, error) {
	if endpoint, ok := endpoints[name]; ok {
		return endpoint, nil
	}
	if len(endpoints) == 0 {
		endpoints[name] = &nt.EndpointSettings{}
		return endpoints[name], nil
	}
	if v < 1044 {
		for _, only := range endpoints {
			return only, nil
		}
	}
	return nil, bad("unable to migrate container-wide MAC address to a specific network: HostConfig.NetworkMode must match the identity of a network in NetworkSettings.Networks")
}

func warnVolumeDriver(v Version, r *CreateBody) (string, error) {
	if r.HostConfig.VolumeDriver == "" || v < 1048 {
		return "", nil
	}
	for _, m := range r.HostConfig.Mounts {
		named := m.VolumeOptions != nil && m.VolumeOptions.DriverConfig != nil && m.VolumeOptions.DriverConfig.Name != ""
		if m.Type == mount.TypeVolume && !named {
			return "WARNING: the container-wide volume-driver configuration is ignored for volumes specified via 'mount'. Use '--mount type=volume,volume-driver=...' instead", nil
		}
	}
	return "", nil
}
