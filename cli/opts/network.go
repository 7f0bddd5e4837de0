package opts

import (
	"encoding/csv"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
)

// attachment is one value of --network.
type attachment struct {
	target       string
	aliases      []string
	links        []string
	driverOpts   map[string]string
	ip4, ip6     netip.Addr
	linkLocalIPs []netip.Addr
	mac          string
	gwPriority   int
}

// parseNetwork reads a value of --network: a name, or "name=x,alias=y,ip=z…".
func parseNetwork(spec string) (attachment, error) {
	if !isLongNetwork(spec) {
		return attachment{target: spec}, nil
	}
	var a attachment
	fields, err := csv.NewReader(strings.NewReader(spec)).Read()
	if err != nil {
		return a, err
	}
	for _, field := range fields {
		key, val, ok := strings.Cut(strings.ToLower(field), "=")
		if !ok || key == "" {
			return a, errors.New("invalid field " + field)
		}
		if err := a.option(strings.TrimSpace(key), strings.TrimSpace(val)); err != nil {
			return a, err
		}
	}
	if a.target == "" {
		return a, errors.New("network name/id is not specified")
	}
	return a, nil
}

// isLongNetwork tells whether somewhere in spec a word, an equals sign and a word follow one another.
func isLongNetwork(spec string) bool {
	isWord := func(c byte) bool {
		return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
	}
	for i := 1; i < len(spec)-1; i++ {
		if spec[i] == '=' && isWord(spec[i-1]) && isWord(spec[i+1]) {
			return true
		}
	}
	return false
}

func (a *attachment) option(key, val string) (err error) {
	switch key {
	case "name":
		a.target = val
	case "alias":
		a.aliases = append(a.aliases, val)
	case "ip":
		a.ip4, err = netip.ParseAddr(val)
	case "ip6":
		a.ip6, err = netip.ParseAddr(val)
	case "mac-address":
		a.mac = val
	case "link-local-ip":
		var ip netip.Addr
		ip, err = netip.ParseAddr(val)
		a.linkLocalIPs = append(a.linkLocalIPs, ip)
	case "driver-opt":
		name, v, ok := strings.Cut(val, "=")
		if !ok || name == "" {
			return errors.New("invalid key value pair format in driver options")
		}
		a.driverOpts = withPair(a.driverOpts, strings.TrimSpace(name)+"="+strings.TrimSpace(v))
	case "gw-priority":
		if a.gwPriority, err = strconv.Atoi(val); err != nil {
			return fmt.Errorf("invalid gw-priority (%s): %w", val, errors.Unwrap(err))
		}
	default:
		return errors.New("invalid field key " + key)
	}
	return err
}

// endpoints puts --network and the older flags for a single network together.
func (c *Container) endpoints() (map[string]*network.EndpointSettings, error) {
	networks := c.networks
	if len(networks) == 0 {
		networks = []attachment{{target: network.NetworkDefault}}
	}
	all := map[string]*network.EndpointSettings{}
	userDefined, builtIn := false, false
	for i, a := range networks {
		if container.NetworkMode(a.target).IsUserDefined() {
			userDefined = true
		} else {
			builtIn = true
		}
		if i == 0 {
			if err := c.onto(&a); err != nil {
				return nil, err
			}
		}
		settings, err := a.settings()
		if err != nil {
			return nil, err
		}
		if _, ok := all[a.target]; ok {
			return nil, fmt.Errorf("network %q is specified multiple times", a.target)
		}
		if len(c.networks) == 1 && isZero(settings) {
			continue // the daemon knows what a plain name means
		}
		all[a.target] = settings
	}
	if userDefined && builtIn {
		return nil, errors.New("conflicting options: cannot attach both user-defined and non-user-defined network-modes")
	}
	return all, nil
}

func isZero(s *network.EndpointSettings) bool {
	return s.IPAMConfig == nil && s.Links == nil && s.Aliases == nil && s.DriverOpts == nil && s.GwPriority == 0 && s.MacAddress == nil
}

// onto gives a the values of --network-alias, --link, --ip, --ip6, --mac-address and --link-local-ip.
func (c *Container) onto(a *attachment) error {
	for _, clash := range []struct {
		both            bool
		old, perNetwork string
	}{
		{len(a.aliases) > 0 && len(c.aliases) > 0, "--network-alias", "alias"},
		{len(a.links) > 0 && len(c.links) > 0, "--link", "links"},
		{a.ip4.IsValid() && c.ip4 != nil, "--ip", "IPv4 address"},
		{a.ip6.IsValid() && c.ip6 != nil, "--ip6", "IPv6 address"},
		{a.mac != "" && c.mac != "", "--mac-address", "MAC address"},
		{len(a.linkLocalIPs) > 0 && len(c.linkLocalIPs) > 0, "--link-local-ip", "link-local IP addresses"},
	} {
		if clash.both {
			return fmt.Errorf("conflicting options: cannot specify both %s and per-network %s", clash.old, clash.perNetwork)
		}
	}
	if len(c.aliases) > 0 {
		a.aliases = c.aliases
	}
	if container.NetworkMode(a.target).IsUserDefined() && len(c.links) > 0 {
		a.links = c.links
	}
	if ip, ok := netip.AddrFromSlice(c.ip4.To4()); ok {
		a.ip4 = ip
	}
	if ip, ok := netip.AddrFromSlice(c.ip6.To16()); ok {
		a.ip6 = ip
	}
	if c.mac != "" {
		a.mac = c.mac
	}
	if len(c.linkLocalIPs) > 0 {
		a.linkLocalIPs = addresses(c.linkLocalIPs)
	}
	return nil
}

func (a *attachment) settings() (*network.EndpointSettings, error) {
	if strings.TrimSpace(a.target) == "" {
		return nil, errors.New("no name set for network")
	}
	if !container.NetworkMode(a.target).IsUserDefined() {
		if len(a.aliases) > 0 {
			return nil, errors.New("network-scoped aliases are only supported for user-defined networks")
		}
		if len(a.links) > 0 {
			return nil, errors.New("links are only supported for user-defined networks")
		}
	}
	s := &network.EndpointSettings{GwPriority: a.gwPriority, Aliases: a.aliases, Links: a.links, DriverOpts: a.driverOpts}
	if a.ip4.IsValid() || a.ip6.IsValid() || len(a.linkLocalIPs) > 0 {
		s.IPAMConfig = &network.EndpointIPAMConfig{IPv4Address: a.ip4, IPv6Address: a.ip6, LinkLocalIPs: a.linkLocalIPs}
	}
	if a.mac != "" {
		mac, err := net.ParseMAC(strings.TrimSpace(a.mac))
		if err != nil {
			return nil, errors.New(a.mac + " is not a valid mac address")
		}
		s.MacAddress = network.HardwareAddr(mac)
	}
	return s, nil
}

// addresses gives the addresses of texts that have been checked before.
func addresses(texts []string) []netip.Addr {
	var ips []netip.Addr
	for _, s := range texts {
		if ip, err := netip.ParseAddr(s); err == nil {
			ips = append(ips, ip)
		}
	}
	return ips
}

func checkIP(s string) (string, error) {
	if ip := net.ParseIP(strings.TrimSpace(s)); ip != nil {
		return ip.String(), nil
	}
	return "", errors.New("IP address is not correctly formatted: " + s)
}

// checkHost checks a value of --add-host: "name:address" or "name=address".
func checkHost(s string) (string, error) {
	name, address, ok := strings.Cut(s, "=")
	if !ok {
		name, address, ok = strings.Cut(s, ":")
	}
	if !ok || name == "" || strings.Contains(name, ":") {
		return "", fmt.Errorf("bad format for add-host: %q", s)
	}
	if address != "host-gateway" {
		if len(address) > 2 && address[0] == '[' && address[len(address)-1] == ']' {
			address = address[1 : len(address)-1]
		}
		if _, err := checkIP(address); err != nil {
			return "", fmt.Errorf("invalid IP address in add-host: %q", address)
		}
	}
	return name + ":" + address, nil
}

// checkDomain checks a value of --dns-search.
func checkDomain(s string) (string, error) {
	if s = strings.Trim(s, " "); s == "." {
		return s, nil
	}
	name := strings.TrimSuffix(strings.TrimRight(s, " \t"), ".")
	letters := false
	for _, label := range strings.Split(name, ".") {
		if !isDomainLabel(label) {
			return "", errors.New(s + " is not a valid domain")
		}
		letters = letters || strings.ContainsFunc(label, func(r rune) bool { return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' })
	}
	if !letters || len(name) >= 255 {
		return "", errors.New(s + " is not a valid domain")
	}
	return name, nil
}

func isDomainLabel(label string) bool {
	if label == "" || label[0] == '-' || label[len(label)-1] == '-' {
		return false
	}
	for _, r := range label {
		if r != '-' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') {
			return false
		}
	}
	return true
}

// CheckLink reads "container:alias", or a container that is its own alias.
func CheckLink(s string) (string, error) {
	if s == "" {
		return "", errors.New("empty string specified for links")
	}
	if strings.Count(s, ":") > 1 {
		return "", errors.New("bad format for links: " + s)
	}
	return s, nil
}
