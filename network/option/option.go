// Package option reads the options of networks and of endpoints. Every one that Docker documents has an effect or is refused.
package option

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
)

// Options of networks, by the names that users give.
const (
	Bridge     = "com.docker.network.bridge.name"
	ICC        = "com.docker.network.bridge.enable_icc"
	Masquerade = "com.docker.network.bridge.enable_ip_masquerade"
	HostIP     = "com.docker.network.bridge.host_binding_ipv4"
	Default    = "com.docker.network.bridge.default_bridge"
	MTU        = "com.docker.network.driver.mtu"
	Prefix     = "com.docker.network.container_iface_prefix"
	Gateway4   = "com.docker.network.bridge.gateway_mode_ipv4"
	Gateway6   = "com.docker.network.bridge.gateway_mode_ipv6"
	Inhibit    = "com.docker.network.bridge.inhibit_ipv4"
	Trusted    = "com.docker.network.bridge.trusted_host_interfaces"
	Source4    = "com.docker.network.host_ipv4"
	Source6    = "com.docker.network.host_ipv6"
	Enable4    = "com.docker.network.enable_ipv4"
	Enable6    = "com.docker.network.enable_ipv6"
	// Routing lets containers of the network, or an endpoint, send packets that are from others.
	Routing = "cove.network.routing"
	parent  = "parent"
)

// Mode is how a network of the bridge driver leads out in one family.
type Mode string

// Modes of gateways. NAT hides containers behind the host's address and opens what they publish on it; NATUnprotected also lets
// who has a route to them reach all their ports. With Routed they have their own addresses, at which what they publish is reached. With
// Isolated, which is for closed networks, the host has no address on the bridge.
const (
	NAT            Mode = "nat"
	NATUnprotected Mode = "nat-unprotected"
	Routed         Mode = "routed"
	Isolated       Mode = "isolated"
)

// Network is what the options of a network say.
type Network struct {
	// Bridge is the name of the bridge, "" for one of the engine's choice; Prefix begins those of containers' devices.
	Bridge, Prefix  string
	ICC, Masquerade bool
	HostIP          netip.Addr
	// Gateway4 and Gateway6 are how each family leads out; Inhibit keeps the IPv4 address of the gateway from the bridge.
	Gateway4, Gateway6 Mode
	Inhibit            bool
	// Source4 and Source6 are the host's addresses under which packets leave, the zero value for that of the way they take.
	Source4, Source6 netip.Addr
	// Trusted are devices of the host from which published ports are reached at the containers' own addresses.
	Trusted []string
	// MTU is 0 where none is asked for.
	MTU     int
	Routing bool
	// Parent is the device of the host that macvlan and ipvlan networks are on; Mode and Flag are how.
	Parent, Mode, Flag string
}

// modes are those of a driver, the first being what it is without one; flags likewise.
var (
	modes = map[string][]string{"macvlan": {"bridge", "private", "vepa", "passthru"}, "ipvlan": {"l2", "l3", "l3s"}}
	flags = map[string][]string{"ipvlan": {"bridge", "private", "vepa"}}
)

// Read reads the options of a network of the driver. Errors are errdefs.ErrInvalidArgument, and errdefs.ErrNotImplemented for what
// Docker knows and this engine has not.
func Read(driver string, options map[string]string) (Network, error) {
	n := Network{Prefix: "eth", ICC: true, Masquerade: true, Gateway4: NAT, Gateway6: NAT}
	if m := modes[driver]; m != nil {
		n.Mode = m[0]
		if f := flags[driver]; f != nil {
			n.Flag = f[0]
		}
	}
	var errs []error
	for _, key := range slices.Sorted(maps.Keys(options)) {
		if err := n.set(driver, key, options[key]); err != nil {
			errs = append(errs, err)
		}
	}
	return n, errors.Join(errs...)
}

func (n *Network) set(driver, key, text string) (err error) {
	onBridge := strings.HasPrefix(key, "com.docker.network.bridge.")
	if onBridge && driver != "bridge" {
		return invalid("%s is an option of networks with the driver bridge", key)
	}
	switch key {
	case Bridge:
		if text != "" {
			n.Bridge, err = device(text, text)
		}
	case ICC:
		n.ICC, err = flag(key, text)
	case Masquerade:
		n.Masquerade, err = flag(key, text)
	case Inhibit:
		n.Inhibit, err = flag(key, text)
	case Routing:
		n.Routing, err = flag(key, text)
	case Gateway4:
		n.Gateway4, err = mode(key, text)
	case Gateway6:
		n.Gateway6, err = mode(key, text)
	case HostIP:
		n.HostIP, err = address(key, text, netip.Addr.IsValid)
	case Source4:
		n.Source4, err = address(key, text, netip.Addr.Is4)
	case Source6:
		n.Source6, err = address(key, text, netip.Addr.Is6)
	case Trusted:
		n.Trusted, err = devices(text)
	case MTU:
		if n.MTU, err = strconv.Atoi(text); err != nil || n.MTU != 0 && n.MTU < 68 || n.MTU > 65535 {
			err = wrong(key, text, "want 0 for that of the host, or 68 to 65535")
		}
	case Prefix:
		if text != "" {
			n.Prefix, err = device(text, text+"0")
		}
	case parent, "macvlan_mode", "ipvlan_mode", "ipvlan_flag":
		return n.ride(driver, key, text)
	default:
		return other(key, text)
	}
	return err
}

// Families tells which families the options ask for: each is nil where they do not say.
func Families(options map[string]string) (four, six *bool, err error) {
	for key, to := range map[string]**bool{Enable4: &four, Enable6: &six} {
		if text, has := options[key]; has {
			is, err := strconv.ParseBool(text)
			if err != nil {
				return nil, nil, invalid("driver-opt %q is not a valid bool", key)
			}
			*to = &is
		}
	}
	return four, six, nil
}

// ride reads how a network is on a device of the host.
func (n *Network) ride(driver, key, text string) (err error) {
	known := modes[driver]
	if key == "ipvlan_flag" {
		known = flags[driver]
	}
	switch {
	case key == parent && driver != "bridge":
		n.Parent, err = device(text, text)
		return err
	case key == parent || !strings.HasPrefix(key, driver+"_"):
		return nil // of another driver, or a label by this name: Docker passes it over as well
	case !slices.Contains(known, text):
		return invalid("requested %s mode %q is not valid: it is one of %s", driver, text, strings.Join(known, ", "))
	case key == "ipvlan_flag":
		n.Flag = text
	default:
		n.Mode = text
	}
	return nil
}

// other refuses what this engine would have to know. Options that nobody knows, and those of other drivers, are passed over, as
// Docker does: they may be for who reads them elsewhere.
func other(key, text string) error {
	switch {
	case key == Default && text != "false":
		return errdefs.ErrNotImplemented.WithMessage(fmt.Sprintf("the option %s=%s of networks is not implemented by this engine", key, text))
	case strings.HasPrefix(key, "cove."):
		return invalid("unknown option of a network: %s", key)
	}
	return nil
}

func flag(key, text string) (bool, error) {
	is, err := strconv.ParseBool(text)
	if err != nil {
		return false, wrong(key, text, err.Error())
	}
	return is, nil
}

func mode(key, text string) (Mode, error) {
	if m := Mode(text); slices.Contains([]Mode{NAT, NATUnprotected, Routed, Isolated}, m) {
		return m, nil
	}
	return "", wrong(key, text, "unknown gateway mode "+text)
}

func address(key, text string, fits func(netip.Addr) bool) (netip.Addr, error) {
	a, err := netip.ParseAddr(text)
	if a = a.Unmap(); err != nil || a.Zone() != "" || !fits(a) {
		return netip.Addr{}, wrong(key, text, "nil ip")
	}
	return a, nil
}

// devices reads names that are separated by colons.
func devices(text string) ([]string, error) {
	all := strings.FieldsFunc(text, func(r rune) bool { return r == ':' })
	for _, name := range all {
		if _, err := device(name, name); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// device gives text, where the kernel takes name for a device.
func device(text, name string) (string, error) {
	reserved := []string{"", ".", "..", "all", "default"} // the last two are what settings of all devices are called
	if len(name) > 15 || slices.Contains(reserved, name) || strings.ContainsAny(name, "/:% \t\n\r\v\f") {
		return "", invalid("invalid name of a network device: %q", name)
	}
	return text, nil
}

// wrong is Docker's form.
func wrong(key, text, why string) error {
	return invalid("failed to parse %s value: %s (%s)", key, text, why)
}

func invalid(format string, args ...any) error {
	return errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf(format, args...))
}
