package option

import (
	"errors"
	"maps"
	"slices"
	"strings"

	nt "github.com/moby/moby/api/types/network"
)

// Endpoint is what the options of an endpoint say.
type Endpoint struct {
	// Device is the name of the container's device, "" for one of the engine's choice.
	Device string
	// Sysctls are settings below /proc/sys/net, in which IFNAME stands for the device.
	Sysctls map[string]string
	Routing bool
}

// Options of endpoints.
const (
	deviceName = "com.docker.network.endpoint.ifname"
	sysctls    = "com.docker.network.endpoint.sysctls"
)

// ReadEndpoint reads the options of an endpoint. Errors are errdefs.ErrInvalidArgument.
func ReadEndpoint(options map[string]string) (e Endpoint, err error) {
	var errs []error
	for _, key := range slices.Sorted(maps.Keys(options)) {
		text := options[key]
		var err error
		switch {
		case key == deviceName:
			e.Device, err = device(text, text)
		case key == Routing:
			e.Routing, err = flag(key, text)
		case key == sysctls:
			e.Sysctls, err = readSysctls(text)
		case strings.HasPrefix(key, "cove."):
			err = invalid("unknown option of an endpoint: %s", key)
		}
		errs = append(errs, err)
	}
	return e, errors.Join(errs...)
}

// readSysctls reads "net.ipv4.conf.IFNAME.log_martians=1,net.ipv4.…"; command lines may have made all of it small letters.
func readSysctls(text string) (map[string]string, error) {
	out := map[string]string{}
	for entry := range strings.SplitSeq(text, ",") {
		name, value, ok := strings.Cut(entry, "=")
		parts := strings.Split(strings.TrimSpace(name), ".")
		if !ok || len(parts) != 5 || parts[0] != "net" || !slices.Contains([]string{"ipv4", "ipv6", "mpls"}, parts[1]) ||
			!strings.EqualFold(parts[3], "IFNAME") || slices.Contains(parts, "") || strings.ContainsRune(name, '/') {
			return nil, invalid("unrecognised network interface sysctl '%s'; represent 'net.X.Y.ethN.Z=V' as 'net.X.Y.IFNAME.Z=V', "+
				"'X' must be 'ipv4', 'ipv6' or 'mpls'", entry)
		}
		parts[3] = "IFNAME"
		out[strings.Join(parts[1:], "/")] = value
	}
	return out, nil
}

// CheckEndpoint refuses what no network can give, and what Docker refuses on predefined networks, those that every engine has.
// Errors are errdefs.ErrInvalidArgument.
func CheckEndpoint(network string, predefined bool, e *nt.EndpointSettings) error {
	if e == nil {
		return nil
	}
	faults := invalidAddresses(e.IPAMConfig)
	if c := e.IPAMConfig; predefined && c != nil && (c.IPv4Address.IsValid() || c.IPv6Address.IsValid()) {
		faults = append(faults, "user specified IP address is supported on user defined networks only")
	}
	if predefined && len(e.Aliases) > 0 {
		faults = append(faults, "network-scoped aliases are only supported for user-defined networks")
	}
	if _, err := ReadEndpoint(e.DriverOpts); err != nil {
		faults = append(faults, err.Error())
	}
	if len(faults) == 0 {
		return nil
	}
	return invalid("invalid config for network %s: invalid endpoint settings:\n%s", network, strings.Join(faults, "\n"))
}

// invalidAddresses tells in Docker's words which of the addresses an endpoint cannot have.
func invalidAddresses(c *nt.EndpointIPAMConfig) (faults []string) {
	if c == nil {
		return nil
	}
	if a := c.IPv4Address; a.IsValid() && (!a.Is4() || a.IsUnspecified()) {
		faults = append(faults, "invalid IPv4 address: "+a.String())
	}
	if a := c.IPv6Address; a.IsValid() && (!a.Is6() || a.Is4In6() || a.Zone() != "" || a.IsUnspecified()) {
		faults = append(faults, "invalid IPv6 address: "+a.String())
	}
	for _, a := range c.LinkLocalIPs {
		if !a.IsLinkLocalUnicast() || a.Is4In6() || a.Zone() != "" {
			faults = append(faults, "invalid link-local IP address: "+a.String())
		}
	}
	return faults
}
