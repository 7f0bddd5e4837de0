package server

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

// grpcServices are what BuildKit's clients call over HTTP/2. Who may build may also see what builds bring along: the
// host's files, should the daemon's settings let builds have them.
var grpcServices = []string{
	"moby.buildkit.v1.Control",
	"moby.buildkit.v1.frontend.LLBBridge",
	"containerd.services.content.v1.Content",
	"opentelemetry.proto.collector.trace.v1.TraceService",
	"grpc.health.v1.Health",
}

func (s *Server) grpcRows() []route {
	rows := []route{
		{"POST /grpc", Administer, s.grpcUpgrade},
		{"POST /session", Administer, s.session},
	}
	for _, service := range grpcServices {
		rows = append(rows, route{"POST /" + service + "/{method}", Administer, s.grpcCall})
	}
	return rows
}

// grpcCall answers a gRPC call that came as a request of HTTP/2.
func (s *Server) grpcCall(c *call) error {
	if c.ProtoMajor != 2 {
		return bad("gRPC needs HTTP/2: use it from the beginning, or upgrade a connection by POST /grpc")
	}
	c.begun = true
	s.BuildKit.ServeHTTP(c.w, c.Request)
	return nil
}

// grpcUpgrade makes a connection one of gRPC.
func (s *Server) grpcUpgrade(c *call) error {
	conn, err := c.upgradeHTTP2()
	if err != nil {
		return err
	}
	s.BuildKit.ServeConn(conn)
	return nil
}

// session makes a connection one on which the daemon asks the client: for the files of a build, secrets, credentials.
func (s *Server) session(c *call) error {
	if err := s.BuildKit.SessionFree(c.Context(), c.Header.Get("X-Docker-Expose-Session-Uuid")); err != nil {
		return err
	}
	ctx, cancel := c.untilDrained(context.WithoutCancel(c.Context()))
	defer cancel()
	conn, err := c.upgradeHTTP2()
	if err != nil {
		return err
	}
	defer conn.Close()
	return s.BuildKit.Session(ctx, conn, c.Header)
}

// upgradeHTTP2 takes the connection over for HTTP/2.
func (c *call) upgradeHTTP2() (net.Conn, error) {
	switch proto := c.Header.Get("Upgrade"); proto {
	case "h2c":
	case "":
		return nil, bad("no upgrade proto in request")
	default:
		return nil, bad(fmt.Sprintf("protocol %s not supported", proto))
	}
	conn, buffered, err := http.NewResponseController(c.w).Hijack()
	if errors.Is(err, http.ErrNotSupported) {
		return nil, bad("a connection of HTTP/2 cannot be upgraded")
	}
	if err != nil {
		return nil, fmt.Errorf("take over connection: %w", err)
	}
	c.begun = true
	_ = conn.SetDeadline(time.Time{})
	if _, err := conn.Write([]byte("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")); err != nil {
		conn.Close()
		return nil, fmt.Errorf("answer: %w", err)
	}
	return &upgraded{Conn: conn, early: buffered.Reader}, nil
}

// upgraded is a connection on which the client may have been faster than the answer.
type upgraded struct {
	net.Conn
	early *bufio.Reader
}

func (u *upgraded) Read(p []byte) (int, error) {
	if u.early.Buffered() > 0 {
		return u.early.Read(p)
	}
	return u.Conn.Read(p)
}
