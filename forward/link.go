package forward

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/cove-containers/cove/sys"
)

const (
	dialTime  = 10 * time.Second
	writeTime = 30 * time.Second
)

// link is a connection to a receiver that is made when it is needed.
type link struct {
	network, address string
	tls              *tls.Config // nil: none

	conn net.Conn
	raw  syscall.RawConn // of a stream, to ask what has arrived
}

// parseAddress reads "proto://host:port" or "unix:///path". port is the one meant when none is given.
func parseAddress(address, port string, protocols ...string) (*link, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	known := false
	for _, p := range protocols {
		known = known || p == u.Scheme
	}
	if !known {
		return nil, errors.New("the address " + address + " must begin with " + strings.Join(protocols, "://, ") + "://")
	}
	l := &link{network: u.Scheme, address: u.Host}
	if strings.HasPrefix(u.Scheme, "unix") {
		if l.address = u.Path; l.address == "" {
			return nil, errors.New("the address " + address + " names no path")
		}
		return l, nil
	}
	if u.Path != "" && u.Path != "/" {
		return nil, errors.New("the address " + address + " must not have a path")
	}
	if u.Port() == "" {
		if port == "" {
			return nil, errors.New("the address " + address + " names no port")
		}
		l.address = net.JoinHostPort(u.Hostname(), port)
	}
	return l, nil
}

func (l *link) stream() bool { return l.network != "udp" && l.network != "unixgram" }

// connect makes the connection if there is none.
func (l *link) connect(ctx context.Context) error {
	if l.conn != nil {
		return nil
	}
	dialer := net.Dialer{Timeout: dialTime}
	conn, err := dialer.DialContext(ctx, strings.TrimSuffix(l.network, "+tls"), l.address)
	if err != nil {
		return err
	}
	l.raw = nil
	if c, ok := conn.(syscall.Conn); ok && l.stream() {
		if l.raw, err = c.SyscallConn(); err != nil {
			conn.Close()
			return err
		}
	}
	l.conn = conn
	if l.tls == nil {
		return nil
	}
	secure := tls.Client(conn, l.tls)
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	if err := secure.HandshakeContext(ctx); err != nil {
		l.close()
		return err
	}
	l.conn = secure
	return nil
}

// write sends bytes and, on a stream, waits until the other end's kernel has them: what is on its way when a connection
// breaks would be lost else.
func (l *link) write(ctx context.Context, p []byte) error {
	return l.put(ctx, p, l.arrived)
}

// put sends bytes; what arrived says then, it says of them.
func (l *link) put(ctx context.Context, p []byte, arrived func(context.Context, time.Time) error) error {
	err := l.connect(ctx)
	if err != nil {
		return err
	}
	deadline := time.Now().Add(writeTime)
	// What does not end with the deadline ends with ctx.
	conn := l.conn
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	conn.SetWriteDeadline(deadline)
	if _, err = conn.Write(p); err == nil {
		err = arrived(ctx, deadline)
	}
	if err != nil {
		l.close()
	}
	return err
}

func (l *link) arrived(ctx context.Context, deadline time.Time) error {
	if l.raw == nil {
		return nil
	}
	for pause := 50 * time.Microsecond; ; pause = min(2*pause, 20*time.Millisecond) {
		unsent, err := sys.Unsent(l.raw)
		if err != nil || unsent == 0 {
			return err
		}
		if time.Now().After(deadline) {
			return errors.New("the receiver does not read")
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}

func (l *link) close() {
	if l.conn != nil {
		l.conn.Close()
		l.conn = nil
	}
}
