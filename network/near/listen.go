package near

import (
	"context"
	"errors"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// listen opens the sockets of TCP and of UDP on the same port, one that nobody has.
func listen() (l *net.TCPListener, datagrams *net.UDPConn, err error) {
	for range 10 {
		if l, err = listenTCP(); err != nil {
			return nil, nil, err
		}
		if datagrams, err = listenUDP(l.Addr().(*net.TCPAddr).Port); err == nil {
			return l, datagrams, nil
		}
		l.Close()
	}
	return nil, nil, err
}

// listenTCP opens a socket whose connections find out by themselves that a client is gone: they have that from it, and none of them has to be told.
func listenTCP() (*net.TCPListener, error) {
	const every, times = 15, 9 // in seconds, and how many of them without an answer
	c := net.ListenConfig{KeepAlive: -1, Control: func(_, _ string, c syscall.RawConn) error {
		return set(c, option{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1}, option{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, every},
			option{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, every}, option{unix.IPPROTO_TCP, unix.TCP_KEEPCNT, times})
	}}
	c.SetMultipathTCP(false)
	l, err := c.Listen(context.Background(), "tcp6", "[::]:0")
	if err != nil {
		return nil, err
	}
	return l.(*net.TCPListener), nil
}

// listenUDP opens a socket that tells the address that each datagram was sent to.
func listenUDP(port int) (*net.UDPConn, error) {
	c := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		return set(c, option{unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1})
	}}
	l, err := c.ListenPacket(context.Background(), "udp6", (&net.UDPAddr{IP: net.IPv6unspecified, Port: port}).String())
	if err != nil {
		return nil, err
	}
	return l.(*net.UDPConn), nil
}

// option is one of a socket's, with its value.
type option struct{ level, name, value int }

func set(c syscall.RawConn, all ...option) error {
	var errs []error
	failed := c.Control(func(fd uintptr) {
		for _, o := range all {
			errs = append(errs, unix.SetsockoptInt(int(fd), o.level, o.name, o.value))
		}
	})
	return errors.Join(append(errs, failed)...)
}
