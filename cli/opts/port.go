package opts

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/network"
)

// ParsePorts reads the values of --publish: which ports of the container they expose and where on the host
// they are bound.
func ParsePorts(specs []string) (network.PortSet, network.PortMap, error) {
	exposed, bound := network.PortSet{}, network.PortMap{}
	for _, spec := range specs {
		short, err := shortPort(spec)
		if err != nil {
			return nil, nil, err
		}
		if err := parsePort(short, exposed, bound); err != nil {
			return nil, nil, err
		}
	}
	return exposed, bound, nil
}

// CheckRange checks an address or a range of addresses.
func CheckRange(text string) (string, error) {
	if _, err := netip.ParseAddr(text); err == nil {
		return text, nil
	}
	if _, err := netip.ParsePrefix(text); err != nil {
		return "", fmt.Errorf("%q is no range of addresses: want one such as 10.0.0.0/8", text)
	}
	return text, nil
}

// shortPort turns "published=8080,target=80,protocol=tcp" into "8080:80/tcp".
func shortPort(spec string) (string, error) {
	if !strings.Contains(spec, "=") {
		return spec, nil
	}
	params := map[string]string{"protocol": "tcp"}
	for _, param := range strings.Split(spec, ",") {
		key, val, ok := strings.Cut(param, "=")
		if !ok || key == "" {
			return "", fmt.Errorf("invalid publish opts format (should be name=value but got '%s')", param)
		}
		params[key] = val
	}
	return params["published"] + ":" + params["target"] + "/" + params["protocol"], nil
}

func parsePort(spec string, exposed network.PortSet, bound network.PortMap) error {
	host, hostPort, inside := splitPort(spec)
	address, err := parseHostIP(host)
	if err != nil {
		return err
	}
	inside, proto, _ := strings.Cut(inside, "/")
	if inside == "" {
		return errors.New("no port specified: " + spec + "<empty>")
	}
	first, last, err := portRange(inside)
	if err != nil {
		return errors.New("invalid containerPort: " + inside)
	}
	hostFirst, hostLast := 0, 0
	if hostPort != "" {
		if hostFirst, hostLast, err = portRange(hostPort); err != nil {
			return errors.New("invalid hostPort: " + hostPort)
		}
		if last-first != hostLast-hostFirst && last != first {
			return fmt.Errorf("invalid ranges specified for container and host Ports: %s and %s", inside, hostPort)
		}
	}
	switch proto = strings.ToLower(proto); proto {
	case "":
		proto = "tcp"
	case "tcp", "udp", "sctp":
	default:
		return errors.New("invalid proto: " + proto)
	}
	for i := 0; i <= last-first; i++ {
		port, _ := network.PortFrom(uint16(first+i), network.IPProtocol(proto))
		binding := network.PortBinding{HostIP: address}
		if hostPort != "" {
			binding.HostPort = strconv.Itoa(hostFirst + i)
			if first == last && hostFirst != hostLast {
				binding.HostPort += "-" + strconv.Itoa(hostLast) // any one of these
			}
		}
		exposed[port] = struct{}{}
		bound[port] = append(bound[port], binding)
	}
	return nil
}

// splitPort parts "[host:][port:]inside"; an IPv6 host has colons of its own.
func splitPort(spec string) (host, port, inside string) {
	rest, inside, ok := cutLast(spec)
	if !ok {
		return "", "", spec
	}
	host, port, ok = cutLast(rest)
	if !ok {
		return "", rest, inside
	}
	return host, port, inside
}

func cutLast(s string) (before, after string, ok bool) {
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}

func parseHostIP(host string) (netip.Addr, error) {
	if host == "" {
		return netip.Addr{}, nil
	}
	text := host
	if host[0] == '[' {
		inner, _, err := net.SplitHostPort(host + ":")
		if err != nil {
			return netip.Addr{}, fmt.Errorf("invalid IP address %v: %w", host, err)
		}
		text = inner
	}
	address, err := netip.ParseAddr(text)
	if err != nil || address.Zone() != "" {
		return netip.Addr{}, errors.New("invalid IP address: " + text)
	}
	return address, nil
}

func portRange(s string) (first, last int, err error) {
	from, to, ok := strings.Cut(s, "-")
	if first, err = portNumber(from); err != nil || !ok {
		return first, first, err
	}
	if last, err = portNumber(to); err == nil && last < first {
		err = errors.New("invalid range specified for port: " + s)
	}
	return first, last, err
}

func portNumber(s string) (int, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	return int(n), err
}
