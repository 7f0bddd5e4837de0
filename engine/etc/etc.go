// Package etc writes the files that tell a container its name and how to find others: hosts, hostname and resolv.conf,
// which the engine mounts into its /etc.
package etc

import (
	"bytes"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	nt "github.com/moby/moby/api/types/network"

	"github.com/cove-containers/cove/container"
	"github.com/cove-containers/cove/network"
)

// Settings are what the files are written by.
type Settings struct {
	Containers *container.Store
	// Root is the daemon's data root.
	Root string
	// HostGateways are the host as its containers see it.
	HostGateways func() []netip.Addr
	// Resolv is for containers that ask for nothing of their own.
	Resolv network.ResolvInput
	// Amending is held while the files of a container that runs are changed: several may have news for it at once.
	Amending *sync.Mutex
}

// Paths are where a container's files lie on the host.
type Paths struct{ Hosts, ResolvConf, Hostname string }

// Paths are the container's own, or those of the container whose network it shares.
func (s Settings) Paths(c *container.Container) Paths {
	dir := c.Dir(s.Root)
	if c.HostConfig.NetworkMode.IsContainer() {
		if other, err := s.Containers.Get(c.HostConfig.NetworkMode.ConnectedContainer()); err == nil {
			dir = other.Dir(s.Root)
		}
	}
	return Paths{filepath.Join(dir, "hosts"), filepath.Join(dir, "resolv.conf"), filepath.Join(dir, "hostname")}
}

// Write makes the files of a container that has the endpoints given; named tells that it has a name server of its own.
// Files that are there are written over and stay the same ones, for they may be mounted. Of a container that runs only
// those lines are changed that come from its networks: the rest may be its own.
func (s Settings) Write(c *container.Container, endpoints map[string]*nt.EndpointSettings, named bool) error {
	if c.HostConfig.NetworkMode.IsContainer() {
		return nil
	}
	at := s.Paths(c)
	if err := os.MkdirAll(filepath.Dir(at.Hosts), 0o710); err != nil {
		return fmt.Errorf("create container folder: %w", err)
	}
	in := s.ResolvOf(c)
	in.Named = named
	for _, e := range endpoints {
		in.IPv6 = in.IPv6 || e != nil && e.IPv6Gateway.IsValid()
	}
	if c.State.Alive() {
		s.Amending.Lock()
		defer s.Amending.Unlock()
		return amend(at, s.hostsInput(c, endpoints), in)
	}
	hosts, err := s.hosts(c, endpoints)
	if err != nil {
		return err
	}
	host, err := network.HostResolvConf()
	if err != nil {
		return fmt.Errorf("read the host's resolv.conf: %w", err)
	}
	for _, f := range []struct {
		path string
		text []byte
	}{{at.Hosts, hosts}, {at.ResolvConf, network.ResolvConf(host, in)}, {at.Hostname, []byte(c.Config.Hostname + "\n")}} {
		if err := os.WriteFile(f.path, f.text, 0o644); err != nil {
			return fmt.Errorf("write %s of container: %w", filepath.Base(f.path), err)
		}
	}
	return nil
}

// amend brings the files of a container that runs up to date.
func amend(at Paths, in HostsInput, resolv network.ResolvInput) error {
	hosts, err := os.ReadFile(at.Hosts)
	if err == nil {
		err = overwrite(at.Hosts, hosts, AmendHosts(hosts, in))
	}
	if err != nil {
		return fmt.Errorf("bring hosts of container up to date: %w", err)
	}
	now, err := os.ReadFile(at.ResolvConf)
	if err != nil {
		return fmt.Errorf("bring resolv.conf of container up to date: %w", err)
	}
	if network.AsksOwnServer(now) == resolv.Named {
		return nil
	}
	host, err := network.HostResolvConf()
	if err == nil {
		err = overwrite(at.ResolvConf, now, network.ResolvConf(host, resolv))
	}
	if err != nil {
		return fmt.Errorf("bring resolv.conf of container up to date: %w", err)
	}
	return nil
}

// overwrite changes a file that is being read: nobody finds it empty.
func overwrite(path string, before, text []byte) error {
	if bytes.Equal(before, text) {
		return nil
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write(text); err != nil {
		return err
	}
	return f.Truncate(int64(len(text)))
}

// hosts is /etc/hosts: generated, or in the host's network the host's own with the user's lines after it.
func (s Settings) hosts(c *container.Container, endpoints map[string]*nt.EndpointSettings) ([]byte, error) {
	in := s.hostsInput(c, endpoints)
	if c.HostConfig.NetworkMode.IsHost() {
		return hostsOfHost(in)
	}
	linked, err := s.Linked(c, true)
	if err != nil {
		return nil, err
	}
	in.Extra = append(linked, in.Extra...)
	return HostsFile(in), nil
}

func (s Settings) hostsInput(c *container.Container, endpoints map[string]*nt.EndpointSettings) HostsInput {
	in := HostsInput{
		Hostname: c.Config.Hostname, Domainname: c.Config.Domainname,
		Extra: c.HostConfig.ExtraHosts, HostGateways: s.HostGateways(), NoIPv6: s.NoIPv6(c),
	}
	for _, name := range slices.Sorted(maps.Keys(endpoints)) {
		for _, a := range []netip.Addr{endpoints[name].IPAddress, endpoints[name].GlobalIPv6Address} {
			if a.IsValid() {
				in.Addresses = append(in.Addresses, a)
			}
		}
	}
	return in
}

// NoIPv6 tells whether a container has turned IPv6 off, also on its loopback, or the kernel has none.
func (s Settings) NoIPv6(c *container.Container) bool {
	off, _ := strconv.Atoi(strings.TrimSpace(c.HostConfig.Sysctls["net.ipv6.conf.all.disable_ipv6"]))
	_, err := os.Stat("/proc/self/net/if_inet6")
	return off != 0 || os.IsNotExist(err)
}

func hostsOfHost(in HostsInput) ([]byte, error) {
	text, err := os.ReadFile("/etc/hosts")
	if err != nil && !os.IsNotExist(err) {
		return nil, fmt.Errorf("read the host's /etc/hosts: %w", err)
	}
	for _, extra := range in.Extra {
		name, address, _ := strings.Cut(extra, ":")
		address = strings.Trim(address, "[]")
		if address == "host-gateway" {
			address = "127.0.0.1"
		}
		text = fmt.Appendf(text, "%s\t%s\n", address, name)
	}
	return text, nil
}

// ResolvOf is what the container asks of name resolution, with the daemon's settings where it asks for nothing.
func (s Settings) ResolvOf(c *container.Container) network.ResolvInput {
	h := c.HostConfig
	in := network.ResolvInput{Servers: h.DNS, Search: h.DNSSearch, Options: h.DNSOptions, Host: h.NetworkMode.IsHost()}
	if len(in.Servers) == 0 {
		in.Servers = s.Resolv.Servers
	}
	if len(in.Search) == 0 {
		in.Search = s.Resolv.Search
	}
	if len(in.Options) == 0 {
		in.Options = s.Resolv.Options
	}
	return in
}
