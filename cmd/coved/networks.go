package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/cove-containers/cove/network"
)

// networkDefaults are the options that networks have where their users say nothing else, by driver.
func (s *settings) networkDefaults() (map[string]map[string]string, error) {
	out := map[string]map[string]string{}
	for _, entry := range s.networkOptions {
		driver, option, _ := strings.Cut(entry, "=")
		name, value, ok := strings.Cut(option, "=")
		if !ok || driver == "" || name == "" {
			return nil, fmt.Errorf("invalid option %q of networks: it must be driver=option=value", entry)
		}
		if out[driver] == nil {
			out[driver] = map[string]string{}
		}
		out[driver][name] = value
	}
	return out, network.CheckDefaults(out)
}

func (s *settings) poolList() ([]network.Pool, error) {
	var out []network.Pool
	for _, text := range s.pools {
		var p network.Pool
		fields, err := pairs(strings.Split(text, ","))
		if err == nil {
			p.Base, err = netip.ParsePrefix(fields["base"])
		}
		if err == nil {
			p.Size, err = strconv.Atoi(fields["size"])
		}
		if err != nil || p.Size < p.Base.Bits() || p.Size > p.Base.Addr().BitLen() {
			return nil, fmt.Errorf("invalid default address pool %q: it must be base=CIDR,size=BITS", text)
		}
		out = append(out, p)
	}
	return out, nil
}

// prefix reads an address with its prefix length, keeping the address.
func prefix(text string) (netip.Prefix, error) {
	if text == "" {
		return netip.Prefix{}, nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return p, fmt.Errorf("invalid bridge address %q: %w", text, &net.ParseError{Type: "CIDR address", Text: text})
	}
	return p, nil
}

func addresses(list []string) ([]netip.Addr, error) {
	var out []netip.Addr
	for _, text := range list {
		a, err := netip.ParseAddr(text)
		if err != nil {
			return nil, fmt.Errorf("%s is not an ip address", text)
		}
		out = append(out, a)
	}
	return out, nil
}

func oneOf(text string) []string {
	if text == "" {
		return nil
	}
	return []string{text}
}

// hostGateways reads what host-gateway means: one address of each family at most.
func hostGateways(list []string) ([]netip.Addr, error) {
	all, err := addresses(list)
	if err != nil {
		return nil, err
	}
	if len(all) > 2 || len(all) == 2 && all[0].Is6() == all[1].Is6() {
		return nil, errors.New("at most one host gateway address of IPv4 and one of IPv6 can be specified")
	}
	return all, nil
}

// side is what is said of the default network in one family.
type side struct{ bridge, within, gateway string }

// side reads what is said of the default network in one family, and refuses what it cannot have.
func (s *settings) side(six bool) (bridge, within netip.Prefix, gateway netip.Addr, err error) {
	of, family := side{s.bip, s.fixedCIDR, s.gateway}, "IPv4"
	if six {
		of, family = side{s.bip6, s.fixedCIDR6, s.gateway6}, "IPv6"
	}
	if bridge, err = prefix(of.bridge); err != nil {
		return bridge, within, gateway, err
	}
	if within, err = prefix(of.within); err != nil {
		return bridge, within, gateway, err
	}
	if of.gateway != "" {
		if gateway, err = netip.ParseAddr(of.gateway); err != nil {
			return bridge, within, gateway, fmt.Errorf("%s is not an ip address", of.gateway)
		}
	}
	wrong := func(a netip.Addr) bool { return a.IsValid() && a.Is6() != six }
	switch {
	case wrong(bridge.Addr()) || wrong(within.Addr()):
		err = fmt.Errorf("invalid %s subnet %q", family, strings.Trim(of.bridge+" "+of.within, " "))
	case wrong(gateway):
		err = fmt.Errorf("%s is not an %s address", gateway, family)
	case bridge.IsValid() && within.IsValid() && (!bridge.Contains(within.Addr()) || within.Bits() < bridge.Bits()):
		err = fmt.Errorf("the range of addresses %s is not in the default network's subnet %s", within, bridge.Masked())
	case six && !s.ipv6 && (of != side{}):
		err = errors.New("--bip6, --fixed-cidr-v6 and --default-gateway-v6 need --ipv6")
	}
	return bridge, within, gateway, err
}

// checkDefaultNetwork refuses what the default network cannot have.
func (s *settings) checkDefaultNetwork() error {
	if s.bridge == "none" && s.bip != "" {
		return errors.New("--bridge none and --bip contradict each other")
	}
	for _, six := range []bool{false, true} {
		if _, _, _, err := s.side(six); err != nil {
			return err
		}
	}
	_, err := s.mark32()
	return err
}

// mark32 reads the mark of packets that networks let in.
func (s *settings) mark32() (m network.Mark, err error) {
	if s.acceptMark == "" {
		return m, nil
	}
	value, mask, masked := strings.Cut(s.acceptMark, "/")
	if !masked {
		mask = "0xffffffff"
	}
	for _, of := range []struct {
		what, text string
		to         *uint32
	}{{"mark", value, &m.Value}, {"mask", mask, &m.Mask}} {
		n, err := strconv.ParseUint(of.text, 0, 32)
		if err != nil {
			return m, fmt.Errorf("invalid bridge-accept-fwmark: invalid firewall %s %q: %w", of.what, s.acceptMark, err)
		}
		*of.to = uint32(n)
	}
	if m.Mask == 0 {
		return m, fmt.Errorf("invalid bridge-accept-fwmark: the mask of %q lets every packet in", s.acceptMark)
	}
	return m, nil
}

// networkConfig is what the keeper of networks is told.
func networkConfig(s *settings, log *slog.Logger) network.Config {
	c := network.Config{
		Mark: s.mark(), Bridge: s.bridge, MTU: s.mtu, Log: log,
		IPv6: s.ipv6, Apart: !s.icc, Seen: !s.masquerade, NoForward: !s.forward, Direct: s.direct,
	}
	// Each of these was checked when the settings were read.
	c.BIP, c.Range, c.Gateway.V4, _ = s.side(false)
	c.BIP6, c.Range6, c.Gateway.V6, _ = s.side(true)
	c.Marked, _ = s.mark32()
	c.Pools, _ = s.poolList()
	c.PublishAllow, _ = network.ParseRanges(strings.Join(s.publishAllow, ","))
	c.HostIP, _ = netip.ParseAddr(s.ip)
	c.Defaults, _ = s.networkDefaults()
	c.HostGateways, _ = hostGateways(s.hostGateways)
	return c
}
