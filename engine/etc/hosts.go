package etc

import (
	"bytes"
	"net/netip"
	"slices"
	"strings"
	"unicode"
)

// HostsInput is what /etc/hosts of a container is made from.
type HostsInput struct {
	Hostname, Domainname string
	// Addresses are the container's own.
	Addresses []netip.Addr
	// Extra are lines of the user, "name:address" or "name:host-gateway"; an address may stand in brackets.
	Extra []string
	// HostGateways stand for the word host-gateway.
	HostGateways []netip.Addr
	// NoIPv6 leaves out the names of IPv6.
	NoIPv6 bool
}

// HostsFile is the text of /etc/hosts: the names every host has, the user's, then the container's own.
func HostsFile(in HostsInput) []byte {
	var b strings.Builder
	line := func(address, names string) { b.WriteString(address + "\t" + names + "\n") }
	line("127.0.0.1", "localhost")
	if !in.NoIPv6 {
		line("::1", "localhost ip6-localhost ip6-loopback")
		line("fe00::", "ip6-localnet")
		line("ff00::", "ip6-mcastprefix")
		line("ff02::1", "ip6-allnodes")
		line("ff02::2", "ip6-allrouters")
	}
	for _, extra := range in.Extra {
		if name, address, ok := SplitExtraHost(extra); ok {
			if address != "host-gateway" {
				line(address, name)
				continue
			}
			for _, a := range in.HostGateways {
				line(a.String(), name)
			}
		}
	}
	if names := ownNames(in.Hostname, in.Domainname); names != "" {
		for _, a := range in.Addresses {
			line(a.String(), names)
		}
	}
	return []byte(b.String())
}

// AmendHosts is the text of /etc/hosts of a container that runs, with its own lines for the addresses it has now; all other
// lines stay.
func AmendHosts(text []byte, in HostsInput) []byte {
	names := ownNames(in.Hostname, in.Domainname)
	if names == "" {
		return text
	}
	missing := slices.Clone(in.Addresses)
	asked := map[string]bool{} // addresses that the user gave the name
	for _, extra := range in.Extra {
		if name, address, ok := SplitExtraHost(extra); ok && name == names {
			asked[address] = true
		}
	}
	var b bytes.Buffer
	for line := range bytes.Lines(text) {
		if words := strings.Fields(string(line)); len(words) > 1 && strings.Join(words[1:], " ") == names {
			a, err := netip.ParseAddr(words[0])
			if at := slices.Index(missing, a); err == nil && at >= 0 {
				missing = slices.Delete(missing, at, at+1)
			} else if err == nil && !a.IsLoopback() && !asked[words[0]] {
				continue
			}
		}
		b.Write(line)
	}
	if n := b.Len(); n > 0 && b.Bytes()[n-1] != '\n' && len(missing) > 0 {
		b.WriteByte('\n')
	}
	for _, a := range missing {
		b.WriteString(a.String() + "\t" + names + "\n")
	}
	return b.Bytes()
}

// MoveHosts is the text of /etc/hosts of a container that runs, in which the lines of others, that have one of the names and nothing
// else, have another address. Those that the user asked for, as extra says, stay.
func MoveHosts(text []byte, names []string, to netip.Addr, extra []string) []byte {
	asked := map[string]bool{}
	for _, one := range extra {
		if name, address, ok := SplitExtraHost(one); ok {
			asked[address+" "+name] = true
		}
	}
	var b bytes.Buffer
	for line := range bytes.Lines(text) {
		words := strings.Fields(string(line))
		if len(words) == 2 && slices.Contains(names, words[1]) && !asked[words[0]+" "+words[1]] {
			if a, err := netip.ParseAddr(words[0]); err == nil && a.Is4() == to.Is4() {
				b.WriteString(to.String() + "\t" + words[1] + "\n")
				continue
			}
		}
		b.Write(line)
	}
	return b.Bytes()
}

// SplitExtraHost reads "name:address" or "name=address", the address perhaps in brackets.
func SplitExtraHost(text string) (name, address string, ok bool) {
	at := strings.IndexAny(text, ":=")
	if at <= 0 || at == len(text)-1 || strings.ContainsFunc(text, notWord) {
		return "", "", false
	}
	name, address = text[:at], text[at+1:]
	if inner, bracketed := strings.CutPrefix(address, "["); bracketed {
		if inner, bracketed = strings.CutSuffix(inner, "]"); bracketed {
			address = inner
		}
	}
	if address != "host-gateway" {
		if _, err := netip.ParseAddr(address); err != nil {
			return "", "", false
		}
	}
	return name, address, true
}

// notWord tells characters that would end a word, or a line, of the file.
func notWord(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) || r == '#' }

// ownNames are the names of a container by which it finds its own address: the full one first, so that it is what
// "hostname -f" answers.
func ownNames(hostname, domain string) string {
	if hostname == "" {
		return ""
	}
	full := hostname
	if domain != "" {
		full += "." + domain
	}
	short, _, dotted := strings.Cut(full, ".")
	if !dotted || short == "" {
		return full
	}
	return full + " " + short
}
