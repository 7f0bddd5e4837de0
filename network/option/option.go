// Package option reads the options of networks and of endpoints. Every one of Docker's has an effect or is refused: none is
// passed over in silence.
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
	// Routing lets containers of the network, or an endpoint, send packets that are from others.
	Routing = "cove.network.routing"
	parent  = "parent"
)

// Network is what the options of a network say.
type Network struct {
	// Bridge is the name of the bridge, "" for one of the engine's choice; Prefix begins those of containers' devices.
	Bridge, Prefix  string
	ICC, Masquerade bool
	HostIP          netip.Addr
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
	n := Network{Prefix: "eth", ICC: true, Masquerade: true}
	if driver != "bridge" {
		n.Mode = modes[driver][0]
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
		n.Bridge, err = device(text, text)
	case ICC:
		n.ICC, err = flag(key, text)
	case Masquerade:
		n.Masquerade, err = flag(key, text)
	case Routing:
		n.Routing, err = flag(key, text)
	case HostIP:
		if n.HostIP, err = netip.ParseAddr(text); err != nil || !n.HostIP.Is4() {
			err = wrong(key, text)
		}
	case MTU:
		if n.MTU, err = strconv.Atoi(text); err != nil || n.MTU < 68 || n.MTU > 65535 {
			err = wrong(key, text)
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

// harmless are values of Docker's options that say what is so anyway.
var harmless = map[string][]string{
	Default: {"false"},
	"com.docker.network.bridge.gateway_mode_ipv4":       {"nat"},
	"com.docker.network.bridge.gateway_mode_ipv6":       {"nat"},
	"com.docker.network.bridge.inhibit_ipv4":            {"false"},
	"com.docker.network.bridge.trusted_host_interfaces": {""},
	"com.docker.network.host_ipv4":                      {""},
	"com.docker.network.host_ipv6":                      {""},
	"com.docker.network.enable_ipv4":                    {"true"},
	"com.docker.network.enable_ipv6":                    {"false"},
}

// other refuses what is Docker's or this engine's to know. Options of others are theirs.
func other(key, text string) error {
	values, known := harmless[key]
	switch {
	case known && slices.Contains(values, text):
		return nil
	case known:
		return errdefs.ErrNotImplemented.WithMessage(fmt.Sprintf("the option %s=%s of networks is not implemented by this engine", key, text))
	case strings.HasPrefix(key, "com.docker.network.") || strings.HasPrefix(key, "cove."):
		return invalid("unknown option of a network: %s", key)
	}
	return nil
}

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
		case strings.HasPrefix(key, "com.docker.network.") || strings.HasPrefix(key, "cove."):
			err = invalid("unknown option of an endpoint: %s", key)
		}
		errs = append(errs, err)
	}
	return e, errors.Join(errs...)
}

// readSysctls reads "net.ipv4.conf.IFNAME.log_martians=1,net.ipv4.…".
func readSysctls(text string) (map[string]string, error) {
	out := map[string]string{}
	for entry := range strings.SplitSeq(text, ",") {
		name, value, ok := strings.Cut(entry, "=")
		parts := strings.Split(strings.TrimSpace(name), ".")
		if !ok || len(parts) != 5 || parts[0] != "net" || parts[3] != "IFNAME" || slices.Contains(parts, "") || strings.ContainsRune(name, '/') {
			return nil, invalid("invalid value for %s: %q: want net.<family>.<kind>.IFNAME.<name>=<value>", sysctls, entry)
		}
		out[strings.Join(parts[1:], "/")] = value
	}
	return out, nil
}

func flag(key, text string) (bool, error) {
	is, err := strconv.ParseBool(text)
	if err != nil {
		return false, wrong(key, text)
	}
	return is, nil
}

// device gives text, where the kernel takes name for a device.
func device(text, name string) (string, error) {
	reserved := []string{"", ".", "..", "all", "default"} // the last two are what settings of all devices are called
	if len(name) > 15 || slices.Contains(reserved, name) || strings.ContainsAny(name, "/:% \t\n\r\v\f") {
		return "", invalid("invalid name of a network device: %q", name)
	}
	return text, nil
}

func wrong(key, text string) error { return invalid("invalid value for %s: %q", key, text) }

func invalid(format string, args ...any) error {
	return errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf(format, args...))
}
