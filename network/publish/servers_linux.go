package publish

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	nt "github.com/moby/moby/api/types/network"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// server is a socket of the host that has a port.
type server struct {
	address netip.Addr
	inode   uint32
}

// servers are the host's sockets by the ports they have.
type servers map[held][]server

// have tells whether one of them is in the way of this port.
func (s servers) have(proto nt.IPProtocol, at netip.AddrPort) bool { return len(s.on(proto, at)) > 0 }

func (s servers) on(proto nt.IPProtocol, at netip.AddrPort) (found []server) {
	for _, one := range s[held{proto, at.Port()}] {
		if one.address == at.Addr() || one.address.Is4() == at.Addr().Is4() && (one.address.IsUnspecified() || at.Addr().IsUnspecified()) {
			found = append(found, one)
		}
	}
	return found
}

const (
	listening = 1 << 10   // a TCP socket that waits for connections, by the numbers of TCP's states
	anyState  = 1<<12 - 1 // a UDP socket has its port in every state
)

// listServers asks the kernel for the sockets that wait on a port: one question for each kind, however many ports.
func listServers() (servers, error) {
	found := servers{}
	for _, kind := range []struct {
		proto  nt.IPProtocol
		number uint8
		states uint32
	}{{nt.TCP, unix.IPPROTO_TCP, listening}, {nt.UDP, unix.IPPROTO_UDP, anyState}} {
		for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
			messages, err := diagnose(family, kind.number, kind.states)
			if err != nil {
				return nil, fmt.Errorf("list the host's sockets: %w", err)
			}
			for _, m := range messages {
				found.add(kind.proto, m)
			}
		}
	}
	return found, nil
}

// Places in the kernel's description of a socket, struct inet_diag_msg.
const (
	diagFamily, diagPort, diagAddress, diagInode, diagSize = 0, 4, 8, 68, 72
)

// only6 is the attribute that tells of a socket on all addresses whether it is for IPv6 alone.
const only6 = 11

func (s servers) add(proto nt.IPProtocol, m []byte) {
	if len(m) < diagSize {
		return
	}
	addresses := []netip.Addr{netip.AddrFrom4([4]byte(m[diagAddress:]))}
	if m[diagFamily] == unix.AF_INET6 {
		a := netip.AddrFrom16([16]byte(m[diagAddress:])).Unmap()
		addresses[0] = a
		if a == netip.IPv6Unspecified() && !forIPv6Alone(m[diagSize:]) {
			addresses = append(addresses, netip.IPv4Unspecified())
		}
	}
	key := held{proto, binary.BigEndian.Uint16(m[diagPort:])}
	for _, a := range addresses {
		s[key] = append(s[key], server{a, binary.NativeEndian.Uint32(m[diagInode:])})
	}
}

func forIPv6Alone(attributes []byte) bool {
	all, err := nl.ParseRouteAttr(attributes)
	return err == nil && slices.ContainsFunc(all, func(a syscall.NetlinkRouteAttr) bool {
		return a.Attr.Type == only6 && len(a.Value) > 0 && a.Value[0] == 1
	})
}

// question is what is asked of the kernel, struct inet_diag_req_v2: family, protocol, two bytes, states, and an empty
// description of one socket.
type question [56]byte

// Len and Serialize make it part of a netlink message.
func (q question) Len() int { return len(q) }

// Serialize is the question in the kernel's bytes.
func (q question) Serialize() []byte { return q[:] }

func diagnose(family, protocol uint8, states uint32) ([][]byte, error) {
	req := nl.NewNetlinkRequest(nl.SOCK_DIAG_BY_FAMILY, unix.NLM_F_DUMP)
	q := question{family, protocol}
	binary.NativeEndian.PutUint32(q[4:], states)
	req.AddData(q)
	return req.Execute(unix.NETLINK_INET_DIAG, 0)
}

// ownerOf names the program that has a port, by its sockets: "nginx (process 1234)".
func ownerOf(proto nt.IPProtocol, at netip.AddrPort) string {
	all, err := listServers()
	if err != nil {
		return ""
	}
	var links []string
	for _, one := range all.on(proto, at) {
		links = append(links, "socket:["+strconv.FormatUint(uint64(one.inode), 10)+"]")
	}
	if len(links) == 0 {
		return ""
	}
	files, _ := filepath.Glob("/proc/[0-9]*/fd/*") // the pattern is well formed
	for _, file := range files {
		if target, err := os.Readlink(file); err == nil && slices.Contains(links, target) {
			pid := strings.Split(file, "/")[2]
			name, err := os.ReadFile("/proc/" + pid + "/comm")
			if err == nil {
				return strings.TrimSpace(string(name)) + " (process " + pid + ")"
			}
		}
	}
	return ""
}
