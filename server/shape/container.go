package shape

import (
	"net/netip"
	"slices"

	ct "github.com/moby/moby/api/types/container"
	nt "github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/storage"

	"github.com/cove-containers/cove/api"
)

// oldInspect is the shape before API 1.52.
type oldInspect struct {
	ct.InspectResponse
	Config          *oldConfig
	NetworkSettings *oldNetworkSettings
}

type oldConfig struct {
	*ct.Config
	MacAddress string `json:"MacAddress,omitempty"`
	OnBuild    []string
}

// oldNetworkSettings shows the default network's endpoint once more at the top, and what has had no meaning for long.
type oldNetworkSettings struct {
	Bridge                 string
	SandboxID              string
	SandboxKey             string
	Ports                  nt.PortMap
	HairpinMode            bool
	LinkLocalIPv6Address   string
	LinkLocalIPv6PrefixLen int
	SecondaryIPAddresses   []string
	SecondaryIPv6Addresses []string
	EndpointID             string
	Gateway                netip.Addr
	GlobalIPv6Address      netip.Addr
	GlobalIPv6PrefixLen    int
	IPAddress              netip.Addr
	IPPrefixLen            int
	IPv6Gateway            netip.Addr
	MacAddress             nt.HardwareAddr
	Networks               map[string]*nt.EndpointSettings
}

// InspectContainer gives a container the shape that version v has for it.
func InspectContainer(v Version, c api.Container) any {
	found := c.InspectResponse
	if v < 1048 {
		found.ImageManifestDescriptor = nil
	}
	if v >= 1052 {
		return found
	}
	if found.NetworkSettings == nil {
		found.NetworkSettings = &ct.NetworkSettings{}
	}
	networks := found.NetworkSettings.Networks
	if v < 1045 && found.Config != nil {
		networks = withIDAliases(networks, found.ID, found.Config.Hostname)
	}
	if found.GraphDriver == nil {
		found.GraphDriver = &storage.DriverData{Name: found.Driver}
	}
	found.Storage = nil
	old := oldInspect{InspectResponse: found, NetworkSettings: &oldNetworkSettings{
		SandboxID:  found.NetworkSettings.SandboxID,
		SandboxKey: found.NetworkSettings.SandboxKey,
		Ports:      found.NetworkSettings.Ports,
		Networks:   networks,
	}}
	if found.Config != nil {
		old.Config = &oldConfig{Config: found.Config, MacAddress: c.WishedMAC.String(), OnBuild: found.Config.OnBuild}
	}
	if bridge := networks[nt.NetworkBridge]; bridge != nil {
		top := old.NetworkSettings
		top.EndpointID, top.MacAddress = bridge.EndpointID, bridge.MacAddress
		top.Gateway, top.IPAddress, top.IPPrefixLen = bridge.Gateway, bridge.IPAddress, bridge.IPPrefixLen
		top.IPv6Gateway, top.GlobalIPv6Address, top.GlobalIPv6PrefixLen = bridge.IPv6Gateway, bridge.GlobalIPv6Address, bridge.GlobalIPv6PrefixLen
	}
	return old
}

// withIDAliases lists, as versions before 1.45 did, the short ID and the host name among a user network's aliases.
func withIDAliases(networks map[string]*nt.EndpointSettings, id, hostname string) map[string]*nt.EndpointSettings {
	all := make(map[string]*nt.EndpointSettings, len(networks))
	for name, endpoint := range networks {
		if ct.NetworkMode(name).IsUserDefined() && endpoint != nil {
			endpoint = endpoint.Copy()
			for _, alias := range []string{id[:min(12, len(id))], hostname} {
				if alias != "" && !slices.Contains(endpoint.Aliases, alias) {
					endpoint.Aliases = append(endpoint.Aliases, alias)
				}
			}
		}
		all[name] = endpoint
	}
	return all
}

// ListedContainer is a container in a list as every version shows it: a port that is not published has no address.
type ListedContainer struct {
	ct.Summary
	Ports []listedPort
}

type listedPort struct {
	IP          string `json:"IP,omitempty"`
	PrivatePort uint16
	PublicPort  uint16 `json:"PublicPort,omitempty"`
	Type        string
}

// ListContainer gives a container in a list the shape that version v has for it.
func ListContainer(v Version, summary ct.Summary) ListedContainer {
	if v < 1046 {
		summary.HostConfig.Annotations = nil
	}
	if v < 1048 {
		summary.ImageManifestDescriptor = nil
	}
	if v < 1052 {
		summary.Health = nil
	}
	ports := make([]listedPort, len(summary.Ports))
	for i, p := range summary.Ports {
		ports[i] = listedPort{PrivatePort: p.PrivatePort, PublicPort: p.PublicPort, Type: p.Type}
		if p.IP.IsValid() {
			ports[i].IP = p.IP.String()
		}
	}
	return ListedContainer{Summary: summary, Ports: ports}
}
