package network

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"

	"github.com/cove-containers/cove/network/bridge"
	"github.com/cove-containers/cove/network/dns"
	"github.com/cove-containers/cove/network/nft"
	"github.com/cove-containers/cove/network/resolv"
)

// ResolvInput is what a user asked of name resolution.
type ResolvInput = resolv.Input

// ResolvConf is the text of /etc/resolv.conf of a container, by that of its host.
func ResolvConf(host []byte, in ResolvInput) []byte { return resolv.Conf(host, in) }

// AsksOwnServer tells whether a container with this resolv.conf asks the name server of its own.
func AsksOwnServer(text []byte) bool { return resolv.AsksOwnServer(text) }

// HostResolvConf is the host's resolv.conf, or, where that only names systemd-resolved's own server, what that server asks.
func HostResolvConf() ([]byte, error) { return resolv.Host() }

// Sockets are what a container's questions for names arrive at. Whoever keeps them open keeps the questions from being
// lost while no engine answers them.
type Sockets = dns.Sockets

// listenNames makes a container's sockets in its namespace.
func listenNames(ns *os.File) (*Sockets, error) {
	var s Sockets
	var ports [2]uint16
	err := bridge.Within(ns, func() error {
		udp, err := net.ListenUDP("udp4", &net.UDPAddr{IP: dns.Address.AsSlice()})
		if err != nil {
			return err
		}
		defer udp.Close()
		tcp, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: dns.Address.AsSlice()})
		if err != nil {
			return err
		}
		defer tcp.Close()
		ports = [2]uint16{uint16(udp.LocalAddr().(*net.UDPAddr).Port), uint16(tcp.Addr().(*net.TCPAddr).Port)}
		if s.UDP, err = udp.File(); err != nil {
			return err
		}
		if s.TCP, err = tcp.File(); err != nil {
			s.UDP.Close()
		}
		return err
	})
	if err == nil {
		if err = nft.RedirectNames(ns, dns.Address, ports[0], ports[1]); err != nil {
			s.Close()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("make name server of container: %w", err)
	}
	return &s, nil
}

// resolver is a container's name server at work.
type resolver struct {
	*dns.Resolver
	ns *os.File // questions for the world go out by it
}

// openNames prepares to answer a container's questions.
func (k *Keeper) openNames(containerID string, s *Sockets, ns *os.File, in ResolvInput) (*resolver, error) {
	ns, err := bridge.Duplicate(ns)
	if err != nil {
		return nil, err
	}
	r := &resolver{ns: ns}
	r.Resolver, err = dns.Open(s, dns.Config{
		Lookup:  func(name string) ([]netip.Addr, bool) { return k.Lookup(containerID, name) },
		Reverse: func(a netip.Addr) (string, bool) { return k.Reverse(containerID, a) },
		Servers: func() []dns.Server { return k.servers(containerID, in) },
		Dial:    r.dial,
	})
	if err != nil {
		ns.Close()
		return nil, fmt.Errorf("serve names: %w", err)
	}
	return r, nil
}

// servers are whom a container's name server asks for what it does not know. Those that only the host reaches are not asked
// for a container that is on networks alone that lead nowhere: questions would be a way out.
func (k *Keeper) servers(containerID string, in ResolvInput) []dns.Server {
	k.mu.Lock()
	m := k.members[containerID]
	k.mu.Unlock()
	var has resolv.Families
	if m != nil {
		has.Out4, has.Out6 = k.carrierOf(m, false) != "", k.carrierOf(m, true) != ""
		for _, e := range m.endpoints {
			has.Four, has.Six = has.Four || e.addresses.V4.IsValid(), has.Six || e.addresses.V6.IsValid()
		}
	}
	all := resolv.ForwardTo(in, has)
	if has.Out4 || has.Out6 {
		return all
	}
	return slices.DeleteFunc(all, func(s dns.Server) bool { return s.Host })
}

func (r *resolver) dial(ctx context.Context, network string, to dns.Server) (conn net.Conn, err error) {
	dial := func() error {
		conn, err = new(net.Dialer).DialContext(ctx, network, to.Address.String())
		return err
	}
	if to.Host {
		return conn, dial()
	}
	err = bridge.Within(r.ns, dial)
	return conn, err
}

// start begins to answer, once the container is known.
func (r *resolver) start() {
	if r != nil {
		r.Start()
	}
}

func (r *resolver) close() {
	if r != nil {
		r.Close()
		r.ns.Close()
	}
}
