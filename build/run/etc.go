package run

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"

	"github.com/cove-containers/cove/network"
)

// etc writes the files by which steps find others. Nobody can write to them in a step, so that all with the same text
// share one file. Those that were not asked for the longest go: a step has its own open long before so many others come.
type etc struct {
	dir string

	mu    sync.Mutex
	there []string // names of files, the one asked for last at the end
}

// maxEtc is how many files there are at most.
const maxEtc = 256

// file gives the path of a file with this text.
func (e *etc) file(text string) (string, error) {
	name := digest.FromString(text).Encoded()
	path := filepath.Join(e.dir, name)
	e.mu.Lock()
	defer e.mu.Unlock()
	if i := slices.Index(e.there, name); i >= 0 {
		e.there = append(slices.Delete(e.there, i, i+1), name)
		return path, nil
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		return "", fmt.Errorf("write file for build steps: %w", err)
	}
	e.there = append(e.there, name)
	for len(e.there) > maxEtc {
		if err := os.Remove(filepath.Join(e.dir, e.there[0])); err != nil {
			return "", fmt.Errorf("remove file of build steps: %w", err)
		}
		e.there = e.there[1:]
	}
	return path, nil
}

// defaultHostname is what steps are called in that ask for no name: the same always, as it may end up in what they make.
const defaultHostname = "buildkitsandbox"

// hosts is the text of /etc/hosts; gateways are what the address host-gateway stands for.
func hosts(hostname string, extra []*pb.HostIP, gateways []netip.Addr) (string, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "127.0.0.1\tlocalhost %s\n::1\tlocalhost ip6-localhost ip6-loopback\n", hostname)
	for _, h := range extra {
		addresses := gateways
		if h.IP != hostGateway {
			a, err := netip.ParseAddr(h.IP)
			if err != nil {
				return "", invalid("invalid IP address %q of extra host %q", h.IP, h.Host)
			}
			addresses = []netip.Addr{a}
		}
		if h.Host == "" || strings.ContainsAny(h.Host, " \t\n") || len(addresses) == 0 {
			return "", invalid("invalid extra host %q with address %q", h.Host, h.IP)
		}
		for _, a := range addresses {
			fmt.Fprintf(&b, "%s\t%s\n", a, h.Host)
		}
	}
	return b.String(), nil
}

// hostGateway is the address of an extra host that is this host.
const hostGateway = "host-gateway"

// resolvConf is the text of /etc/resolv.conf.
func resolvConf(in network.ResolvInput) (string, error) {
	host, err := network.HostResolvConf()
	if err != nil {
		return "", fmt.Errorf("read the host's resolv.conf: %w", err)
	}
	return string(network.ResolvConf(host, in)), nil
}

// clientHosts reads NAME:IP, or NAME=IP, as clients write extra hosts.
func clientHosts(texts []string) (hosts []*pb.HostIP) {
	for _, text := range texts {
		i := strings.IndexAny(text, ":=")
		if i < 0 {
			i = len(text)
		}
		host := &pb.HostIP{Host: text[:i]}
		if i < len(text) {
			host.IP = strings.Trim(text[i+1:], "[]")
		}
		hosts = append(hosts, host)
	}
	return hosts
}
