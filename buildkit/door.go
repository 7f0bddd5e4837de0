// Package buildkit is the door of BuildKit's own clients: buildx, bake, compose and everything else that speaks
// moby.buildkit.v1. It translates their gRPC calls into builds, and serves what a client asks of a build that it steers
// itself (LLBBridge) with the gateway the builder made for it.
//
// Clients reach it in three ways: a connection upgraded by POST /grpc, a session upgraded by POST /session, and gRPC
// over HTTP/2 on the daemon's own listeners. Builds of the classic API, whose body is an archive, are turned here into
// builds with a session inside the process (classic.go).
package buildkit

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"

	contentapi "github.com/containerd/containerd/api/services/content/v1"
	"github.com/containerd/errdefs"
	control "github.com/moby/buildkit/api/services/control"
	gateway "github.com/moby/buildkit/frontend/gateway/pb"
	_ "github.com/moby/buildkit/util/grpcutil/encoding/proto" // file names need not be UTF-8, which the usual codec refuses
	traces "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
)

// maxMessage bounds a gRPC message, in both directions, as BuildKit's clients bound it.
const maxMessage = 16 << 20

// Door serves clients until Close. It is safe for concurrent use.
type Door struct {
	Parts
	web      *grpc.Server
	upgraded *handovers
	steered  *steered
	uploads  uploads
	cancels  cancels
	closed   chan struct{}
	running  sync.WaitGroup
}

// New opens the door.
func New(p Parts) *Door {
	if p.Log == nil {
		p.Log = slog.Default()
	}
	d := &Door{Parts: p, upgraded: newHandovers(), steered: newSteered(), closed: make(chan struct{})}
	d.web = grpc.NewServer(
		grpc.UnaryInterceptor(d.unary), grpc.StreamInterceptor(d.stream),
		grpc.MaxRecvMsgSize(maxMessage), grpc.MaxSendMsgSize(maxMessage),
	)
	control.RegisterControlServer(d.web, &controlServer{door: d})
	gateway.RegisterLLBBridgeServer(d.web, &bridgeServer{steered: d.steered})
	contentapi.RegisterContentServer(d.web, &contentServer{history: p.History})
	traces.RegisterTraceServiceServer(d.web, traceServer{})
	grpc_health_v1.RegisterHealthServer(d.web, health.NewServer())
	d.running.Go(func() { _ = d.web.Serve(d.upgraded) })
	return d
}

// Close ends every connection, session and call. It is called once.
func (d *Door) Close() {
	close(d.closed)
	d.web.Stop()
	d.running.Wait()
}

// ServeConn serves gRPC on a connection that was HTTP/1.1 before; the door closes it.
func (d *Door) ServeConn(conn net.Conn) { d.upgraded.give(conn) }

// ServeHTTP serves one gRPC call that came as a request of HTTP/2.
func (d *Door) ServeHTTP(w http.ResponseWriter, r *http.Request) { d.web.ServeHTTP(w, r) }

// Session serves a client's session on a connection until one side ends it. The headers are those of the request that
// brought the connection.
func (d *Door) Session(ctx context.Context, conn net.Conn, headers map[string][]string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-d.closed:
			cancel()
		case <-ctx.Done():
		}
	}()
	return d.Sessions.HandleConn(ctx, &watchedConn{Conn: conn, broken: cancel}, headers)
}

// SessionFree refuses an ID that a living session has: what a build asks its client for must not go to another.
func (d *Door) SessionFree(ctx context.Context, id string) error {
	if id == "" {
		return errdefs.ErrInvalidArgument.WithMessage("no session ID in request")
	}
	if known, err := d.Sessions.Get(ctx, id, true); err == nil && known != nil {
		return errdefs.ErrInvalidArgument.WithMessage("session " + id + " already exists")
	}
	return nil
}

// watchedConn tells when the other side is gone: the session's own health check would take seconds to notice.
type watchedConn struct {
	net.Conn
	broken func()
}

func (c *watchedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err != nil {
		c.broken()
	}
	return n, err
}

// handovers is a listener of connections that others accepted.
type handovers struct {
	conns chan net.Conn
	ended chan struct{}
	once  sync.Once
}

func newHandovers() *handovers {
	return &handovers{conns: make(chan net.Conn), ended: make(chan struct{})}
}

func (h *handovers) give(conn net.Conn) {
	select {
	case h.conns <- conn:
	case <-h.ended:
		conn.Close()
	}
}

func (h *handovers) Accept() (net.Conn, error) {
	select {
	case conn := <-h.conns:
		return conn, nil
	case <-h.ended:
		return nil, errors.New("the door is closed")
	}
}

func (h *handovers) Close() error {
	h.once.Do(func() { close(h.ended) })
	return nil
}

func (h *handovers) Addr() net.Addr { return &net.UnixAddr{Name: "upgraded", Net: "unix"} }
