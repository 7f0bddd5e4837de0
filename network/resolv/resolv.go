// Package resolv writes the resolv.conf of containers from that of the host and what a user asked, and says whom the name servers of
// containers ask.
package resolv

import (
	"bufio"
	"bytes"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/cove-containers/cove/network/dns"
)

// Input is what a user asked of name resolution.
type Input struct {
	Servers         []netip.Addr
	Search, Options []string
	// Host keeps the host's name servers also where they are on its loopback: the container is in the host's network.
	Host bool
	// Named has the container ask its own name server, which asks the others for it.
	Named bool
	// IPv6 tells that the container reaches servers of IPv6.
	IPv6 bool
}

// fallbackServers answer where the host names none that a container can reach; Docker's users expect these.
var fallbackServers = []string{"8.8.8.8", "8.8.4.4"}

// Conf is the text of /etc/resolv.conf of a container whose host has the text host: the host's settings, with
// what the user gave in their place. Name servers on the host's loopback are left out, for a container has a loopback
// of its own; where none is left it gets public ones. A search list of only "." searches nowhere.
func Conf(host []byte, in Input) []byte {
	c := parse(host)
	if len(in.Servers) > 0 {
		c.servers = nil
		for _, s := range in.Servers {
			c.servers = append(c.servers, s.String())
		}
	} else if !in.Host {
		c.servers = slices.DeleteFunc(c.servers, func(s string) bool { return onlyTheHosts(s, true, in.IPv6) })
		if len(c.servers) == 0 {
			c.servers = fallbackServers
		}
	}
	if len(in.Search) > 0 {
		c.search = in.Search
	}
	// Some resolvers make names with two dots of it, and to search nowhere besides is what all do.
	c.search = slices.DeleteFunc(slices.Clone(c.search), func(domain string) bool { return domain == "." })
	if len(in.Options) > 0 {
		c.options = in.Options
	}
	if in.Named {
		c.servers = []string{dns.Address.String()}
		if !slices.ContainsFunc(c.options, func(o string) bool { return strings.HasPrefix(o, "ndots:") }) {
			c.options = append(c.options, "ndots:0") // names of containers have no dots
		}
	}
	var b strings.Builder
	for _, s := range c.servers {
		b.WriteString("nameserver " + s + "\n")
	}
	if len(c.search) > 0 {
		b.WriteString("search " + strings.Join(c.search, " ") + "\n")
	}
	if len(c.options) > 0 {
		b.WriteString("options " + strings.Join(c.options, " ") + "\n")
	}
	for _, line := range c.others {
		b.WriteString(line + "\n")
	}
	return []byte(b.String())
}

// AsksOwnServer tells whether a container with this resolv.conf asks the name server of its own.
func AsksOwnServer(text []byte) bool {
	return slices.Contains(parse(text).servers, dns.Address.String())
}

// file is a resolv.conf taken apart.
type file struct {
	servers, search, options []string
	others                   []string // lines of other keywords, such as sortlist
}

func parse(text []byte) file {
	var c file
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line, _, _ := strings.Cut(lines.Text(), "#")
		if strings.HasPrefix(strings.TrimSpace(line), ";") {
			continue
		}
		words := strings.Fields(line)
		if len(words) < 2 {
			continue
		}
		switch words[0] {
		case "nameserver":
			c.servers = append(c.servers, words[1])
		case "search", "domain":
			c.search = words[1:]
		case "options":
			c.options = append(c.options, words[1:]...)
		default:
			c.others = append(c.others, strings.Join(words, " "))
		}
	}
	return c
}

// onlyTheHosts tells whether a name server can be reached by the host alone: it is on its loopback or on a link of its, is no
// address, or is of a family by which the container does not reach the world.
func onlyTheHosts(server string, four, six bool) bool {
	a, err := netip.ParseAddr(server)
	a = a.Unmap()
	return err != nil || a.IsLoopback() || a.IsUnspecified() || a.IsLinkLocalUnicast() || a.Is4() && !four || a.Is6() && !six
}

const (
	resolvPath = "/etc/resolv.conf"
	// resolvedPath is where systemd-resolved writes the name servers it asks itself.
	resolvedPath = "/run/systemd/resolve/resolv.conf"
)

// Host reads the host's resolv.conf. Where that only names systemd-resolved's own server, it reads what that
// server asks. A host without the file has an empty one.
func Host() ([]byte, error) {
	text, err := os.ReadFile(resolvPath)
	if err != nil {
		if os.IsNotExist(err) {
			return nil, nil
		}
		return nil, err
	}
	if servers := parse(text).servers; len(servers) == 1 && (servers[0] == "127.0.0.53" || servers[0] == "127.0.0.54") {
		if behind, err := os.ReadFile(resolvedPath); err == nil {
			return behind, nil
		}
	}
	return text, nil
}

// Families are those that a container has, and those by which it reaches the world.
type Families struct{ Four, Six, Out4, Out6 bool }

// ForwardTo is whom a container's name server asks for what no container is called, in order: whom the user named, else
// the host's own. Those that only the host reaches are asked from there, those of a family that the container does not have, too.
func ForwardTo(in Input, has Families) []dns.Server {
	var out []dns.Server
	for _, a := range in.Servers {
		if a = a.Unmap(); a != dns.Address { // itself, without end
			out = append(out, dns.Server{Address: netip.AddrPortFrom(a, 53), Host: a.Is4() && !has.Four && !a.IsLoopback() || a.Is6() && !has.Six && !a.IsLoopback()})
		}
	}
	if len(in.Servers) > 0 {
		return out
	}
	host, err := Host()
	if err != nil {
		return nil
	}
	for _, text := range parse(host).servers {
		if a, err := netip.ParseAddr(text); err == nil && !a.Unmap().IsUnspecified() {
			out = append(out, dns.Server{Address: netip.AddrPortFrom(a.Unmap(), 53), Host: onlyTheHosts(text, has.Out4, has.Out6)})
		}
	}
	return out
}
