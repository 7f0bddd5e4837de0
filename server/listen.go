package server

import (
	"context"
	"net"
	"time"

	"github.com/containerd/errdefs"
)

// ListenConfig says where the API is offered.
type ListenConfig struct {
	// Hosts are addresses as dockerd takes them: unix:///run/cove/cove.sock, tcp://127.0.0.1:2375, fd:// for the sockets
	// that systemd hands over.
	Hosts []string
	// Group owns unix sockets; empty is "cove" where that group exists, else "docker", else root.
	Group string
	TLS   TLS
}

// TLS protects tcp addresses. Without Verify every client that reaches the port is root, so it is allowed on loopback only.
type TLS struct {
	Verify        bool
	CA, Cert, Key string
}

// Listen opens every address of the config, or none.
func Listen(config ListenConfig) ([]net.Listener, error) {
	return nil, errdefs.ErrNotImplemented
}

// Serve answers requests on the listeners until ctx is done, then lets work in progress finish for at most grace.
func Serve(ctx context.Context, s *Server, listeners []net.Listener, grace time.Duration) error {
	return errdefs.ErrNotImplemented
}
