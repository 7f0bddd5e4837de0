// Package listen opens the addresses the API is offered at and serves HTTP on them until it is told to stop.
package listen

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/containerd/errdefs"
)

// Config says where the API is offered.
type Config struct {
	// Hosts are addresses as dockerd takes them: unix:///run/cove/cove.sock, tcp://127.0.0.1:2375, fd:// for the sockets
	// that systemd hands over.
	Hosts []string
	// Group owns unix sockets; empty is "cove" where that group exists, else "docker", else root.
	Group string
	TLS   TLS
}

// TLS protects tcp addresses. Without Verify every client that reaches the port is root, so it is allowed on loopback only.
type TLS struct {
	// Verify asks clients for a certificate of CA.
	Verify        bool
	CA, Cert, Key string
	// HTTP2 is for clients that speak nothing else, as those of gRPC; who offers both gets HTTP/1.1.
	HTTP2 bool
}

// Open opens every address of the config, or none.
func Open(config Config) ([]net.Listener, error) {
	var open []net.Listener
	for _, host := range config.Hosts {
		more, err := listen(host, config)
		if err != nil {
			for _, l := range open {
				l.Close()
			}
			return nil, fmt.Errorf("listen on %s: %w", host, err)
		}
		open = append(open, more...)
	}
	return open, nil
}

func listen(host string, config Config) ([]net.Listener, error) {
	scheme, address, ok := strings.Cut(host, "://")
	if !ok {
		return nil, errdefs.ErrInvalidArgument.WithMessage("invalid address: want unix://PATH, tcp://HOST:PORT or fd://")
	}
	var l net.Listener
	var err error
	switch scheme {
	case "unix":
		l, err = listenUnix(address, config.Group)
	case "tcp":
		l, err = listenTCP(address, config.TLS)
	case "fd":
		return activated(address)
	default:
		return nil, errdefs.ErrInvalidArgument.WithMessage("invalid address: protocol " + strconv.Quote(scheme) + " is not supported")
	}
	if err != nil {
		return nil, err
	}
	return []net.Listener{l}, nil
}

// listenUnix makes a socket that root and the group may use. One that is there already is replaced when nobody
// answers on it.
func listenUnix(path, group string) (net.Listener, error) {
	gid, err := socketGroup(group)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	if err := removeStale(path); err != nil {
		return nil, err
	}
	// The socket is made under another name and moved into place once its rights are set: it is never open to others.
	making := filepath.Join(filepath.Dir(path), ".s"+strconv.Itoa(os.Getpid()))
	os.Remove(making)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: making, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	err = os.Chmod(making, 0o660)
	if err == nil && os.Geteuid() == 0 {
		err = os.Chown(making, 0, gid)
	}
	if err == nil {
		err = os.Rename(making, path)
	}
	if err != nil {
		l.Close()
		os.Remove(making)
		return nil, err
	}
	return &unixListener{UnixListener: l, path: path}, nil
}

// unixListener removes its socket at the end, if it is still its own.
type unixListener struct {
	*net.UnixListener
	path string
}

func (l *unixListener) Addr() net.Addr { return &net.UnixAddr{Name: l.path, Net: "unix"} }

func (l *unixListener) Close() error {
	err := l.UnixListener.Close()
	if err == nil {
		_ = removeStale(l.path)
	}
	return err
}

// removeStale removes a socket nobody answers on. Anything else at its place is an error.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != os.ModeSocket {
		return fmt.Errorf("%s exists and is no socket: %w", path, errdefs.ErrAlreadyExists)
	}
	conn, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		conn.Close()
		return fmt.Errorf("another daemon answers on %s: %w", path, errdefs.ErrAlreadyExists)
	}
	if !errors.Is(err, syscall.ECONNREFUSED) && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("another daemon may be busy on %s: %w", path, err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

func socketGroup(name string) (int, error) {
	candidates := []string{"cove", "docker"}
	if name != "" {
		if gid, err := strconv.Atoi(name); err == nil {
			return gid, nil
		}
		candidates = []string{name}
	}
	for _, candidate := range candidates {
		if g, err := user.LookupGroup(candidate); err == nil {
			return strconv.Atoi(g.Gid)
		}
	}
	if name != "" {
		return 0, fmt.Errorf("group %s of the socket: %w", name, errdefs.ErrNotFound)
	}
	return 0, nil
}

// listenTCP refuses to let the network in unless clients must show a certificate.
func listenTCP(address string, config TLS) (net.Listener, error) {
	address, err := tcpAddress(address, config.Verify || config.Cert != "")
	if err != nil {
		return nil, err
	}
	if !config.Verify && !isLoopback(address) {
		return nil, errdefs.ErrInvalidArgument.WithMessage("refusing to listen on " + address + " without --tlsverify: whoever reaches it would be root on this host. Use --tlsverify with --tlscacert, --tlscert and --tlskey, or a loopback address")
	}
	var secure *tls.Config
	if config.Verify || config.Cert != "" {
		if secure, err = tlsConfig(config); err != nil {
			return nil, err
		}
	}
	l, err := net.Listen("tcp", address)
	if err != nil || secure == nil {
		return l, err
	}
	return tls.NewListener(l, secure), nil
}

// tcpAddress fills in what dockerd fills in: this host, port 2375, or 2376 with TLS.
func tcpAddress(address string, secure bool) (string, error) {
	address = strings.TrimSuffix(address, "/")
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		host, port = strings.Trim(address, "[]"), ""
	}
	if host == "" {
		host = "127.0.0.1"
	}
	if port == "" {
		port = "2375"
		if secure {
			port = "2376"
		}
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n > 65535 {
		return "", errdefs.ErrInvalidArgument.WithMessage("invalid port " + strconv.Quote(port))
	}
	return net.JoinHostPort(host, port), nil
}

// isLoopback is true only for literal loopback addresses and the name every host gives them.
func isLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

func tlsConfig(config TLS) (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(config.Cert, config.Key)
	if err != nil {
		return nil, fmt.Errorf("load certificate %s with key %s: %w", config.Cert, config.Key, err)
	}
	secure := &tls.Config{
		Certificates: []tls.Certificate{pair},
		MinVersion:   tls.VersionTLS12,
		NextProtos:   []string{"http/1.1"}, // connections are taken over, which HTTP/2 has no word for
	}
	if config.HTTP2 {
		secure.NextProtos = append(secure.NextProtos, "h2")
	}
	if !config.Verify {
		return secure, nil
	}
	secure.ClientAuth = tls.RequireAndVerifyClientCert
	secure.ClientCAs = x509.NewCertPool()
	text, err := os.ReadFile(config.CA)
	if err != nil {
		return nil, fmt.Errorf("load certificate authorities: %w", err)
	}
	if !secure.ClientCAs.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("no certificate in %s: %w", config.CA, errdefs.ErrInvalidArgument)
	}
	return secure, nil
}

// activated takes over the sockets that systemd opened: all, or the one whose number or name fd://… gives.
func activated(which string) ([]net.Listener, error) {
	if pid, err := strconv.Atoi(os.Getenv("LISTEN_PID")); err != nil || pid != os.Getpid() {
		return nil, errdefs.ErrNotFound.WithMessage("no sockets found via socket activation: make sure the service was started by systemd")
	}
	count, err := strconv.Atoi(os.Getenv("LISTEN_FDS"))
	if err != nil || count <= 0 || count > 128 {
		return nil, errdefs.ErrNotFound.WithMessage("no sockets found via socket activation: make sure the service was started by systemd")
	}
	names := strings.Split(os.Getenv("LISTEN_FDNAMES"), ":")
	var open []net.Listener
	for fd := 3; fd < 3+count; fd++ {
		name := ""
		if fd-3 < len(names) {
			name = names[fd-3]
		}
		if which != "" && which != "*" && which != strconv.Itoa(fd) && which != name {
			continue
		}
		file := os.NewFile(uintptr(fd), "systemd:"+strconv.Itoa(fd))
		l, err := net.FileListener(file)
		file.Close()
		if err != nil {
			return nil, fmt.Errorf("take over socket %d: %w", fd, err)
		}
		if u, ok := l.(*net.UnixListener); ok {
			u.SetUnlinkOnClose(false) // systemd's, and there for the next start
		}
		open = append(open, l)
	}
	if len(open) == 0 {
		return nil, errdefs.ErrNotFound.WithMessage("no socket " + strconv.Quote(which) + " found via socket activation")
	}
	return open, nil
}
