package publish

import (
	"fmt"
	"io"
	"net/netip"
	"os"

	nt "github.com/moby/moby/api/types/network"
	"golang.org/x/sys/unix"
)

// reservePort takes a port of the host as a server would, so that nobody else can, and drops whatever arrives there:
// packets to a published port go to the container before they get to the socket, and while they cannot, a client
// shall not find a server that never answers.
func reservePort(proto nt.IPProtocol, at netip.AddrPort) (io.Closer, error) {
	kind, number := unix.SOCK_STREAM, unix.IPPROTO_TCP
	if proto == nt.UDP {
		kind, number = unix.SOCK_DGRAM, unix.IPPROTO_UDP
	}
	family := unix.AF_INET
	if at.Addr().Is6() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, number)
	if err != nil {
		return nil, err
	}
	socket := os.NewFile(uintptr(fd), fmt.Sprintf("%s/%s", at, proto))
	if err := reserve(fd, kind, at); err != nil {
		socket.Close()
		return nil, err
	}
	return socket, nil
}

func reserve(fd, kind int, at netip.AddrPort) error {
	drop := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: 0}}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &drop[0]}); err != nil {
		return fmt.Errorf("attach filter: %w", err)
	}
	if kind == unix.SOCK_STREAM {
		// As every server does: connections that linger from the last one do not block the port.
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
			return err
		}
	}
	var here unix.Sockaddr = &unix.SockaddrInet6{Port: int(at.Port()), Addr: at.Addr().As16()}
	if at.Addr().Is4() {
		here = &unix.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()}
	} else if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1); err != nil {
		return err
	}
	if err := unix.Bind(fd, here); err != nil {
		return err
	}
	if kind == unix.SOCK_STREAM {
		return unix.Listen(fd, 1)
	}
	return nil
}
