package client

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

// Stream is a connection taken over from HTTP: both directions carry a container's bytes. A read that ends with
// io.EOF has delivered everything.
type Stream struct {
	// Raw is true when the daemon said the bytes come from a terminal, not as multiplexed frames.
	Raw    bool
	conn   net.Conn
	reader *bufio.Reader
}

// Read gives what the daemon sends.
func (s *Stream) Read(p []byte) (int, error) { return s.reader.Read(p) }

// Write sends standard input.
func (s *Stream) Write(p []byte) (int, error) { return s.conn.Write(p) }

// CloseWrite tells the daemon that standard input has ended; output still arrives.
func (s *Stream) CloseWrite() error {
	if half, ok := s.conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// Close ends both directions.
func (s *Stream) Close() error { return s.conn.Close() }

// hijack sends k and takes the connection over when the daemon agrees.
func (c *Client) hijack(ctx context.Context, k call) (*Stream, error) {
	for {
		version := c.Version()
		stream, err := c.tryHijack(ctx, k)
		if err == nil || !c.lower(version, err) {
			return stream, err
		}
	}
}

func (c *Client) tryHijack(ctx context.Context, k call) (*Stream, error) {
	req, err := c.request(ctx, k)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", cmp.Or(k.upgrade, "tcp"))
	conn, err := c.dial(ctx)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	var away *ConnectError
	if err := req.Write(conn); err != nil {
		conn.Close()
		if errors.As(err, &away) {
			return nil, away
		}
		return nil, fmt.Errorf("send %s: %w", k.path, err)
	}
	reader := bufio.NewReader(conn)
	res, err := http.ReadResponse(reader, req)
	if err != nil {
		conn.Close()
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		if errors.As(err, &away) {
			return nil, away
		}
		return nil, fmt.Errorf("unable to upgrade to tcp: %w", err)
	}
	if res.StatusCode != http.StatusSwitchingProtocols && res.StatusCode != http.StatusOK {
		err := readError(res)
		conn.Close()
		return nil, err
	}
	c.settled.Store(true)
	return &Stream{
		Raw:    res.Header.Get("Content-Type") == "application/vnd.docker.raw-stream",
		conn:   conn,
		reader: reader,
	}, nil
}
