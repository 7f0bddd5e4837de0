package container

import (
	"maps"
	"net/netip"

	nt "github.com/moby/moby/api/types/network"
)

// LeaveNetworks takes out of the record what a network gave for one run. It changes c: it is for who makes a new record.
func (c *Container) LeaveNetworks() {
	endpoints := map[string]*nt.EndpointSettings{}
	four, six := c.AddressesHad()
	for name, wish := range c.Wished {
		endpoint := wish.Copy()
		if last := c.Networks[name]; last != nil {
			endpoint.NetworkID, endpoint.DNSNames = last.NetworkID, last.DNSNames
		}
		endpoints[name] = endpoint
	}
	c.Networks, c.LastAddresses, c.LastAddresses6, c.Ports, c.SandboxID = endpoints, four, six, nil, ""
}

// AddressesHad are those the container has, had when it ran, or has asked for and will have when it does, by network.
func (c *Container) AddressesHad() (four, six map[string]netip.Addr) {
	four, six = map[string]netip.Addr{}, map[string]netip.Addr{}
	for name, wish := range c.Wished {
		if wish == nil || wish.IPAMConfig == nil {
			continue
		}
		if a := wish.IPAMConfig.IPv4Address; a.IsValid() {
			four[name] = a
		}
		if a := wish.IPAMConfig.IPv6Address; a.IsValid() {
			six[name] = a
		}
	}
	maps.Copy(four, c.LastAddresses)
	maps.Copy(six, c.LastAddresses6)
	for name, endpoint := range c.Networks {
		if endpoint != nil && endpoint.IPAddress.IsValid() {
			four[name] = endpoint.IPAddress
		}
		if endpoint != nil && endpoint.GlobalIPv6Address.IsValid() {
			six[name] = endpoint.GlobalIPv6Address
		}
	}
	return four, six
}
