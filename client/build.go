package client

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"strconv"

	"github.com/cove-containers/cove/api"
	"github.com/moby/moby/api/types/build"
	"github.com/moby/moby/api/types/system"
)

// tunnel is a connection that was HTTP once: what had been read ahead comes before what the connection has yet to give.
type tunnel struct {
	net.Conn
	stream *Stream
}

func (t *tunnel) Read(p []byte) (int, error) { return t.stream.Read(p) }

// BuildControl opens a connection on which the daemon answers BuildKit's gRPC calls, over HTTP/2 without TLS of its own.
func (c *Client) BuildControl(ctx context.Context) (net.Conn, error) {
	return c.tunnel(ctx, "/grpc", "h2c", nil)
}

// BuildSession opens a connection on which the daemon calls: it speaks the protocol (h2c), and meta names the session and
// what this end has to offer, as BuildKit's sessions do it.
func (c *Client) BuildSession(ctx context.Context, protocol string, meta map[string][]string) (net.Conn, error) {
	header := http.Header{}
	for name, values := range meta {
		header[http.CanonicalHeaderKey(name)] = values
	}
	return c.tunnel(ctx, "/session", protocol, header)
}

func (c *Client) tunnel(ctx context.Context, path, protocol string, header http.Header) (net.Conn, error) {
	stream, err := c.hijack(ctx, call{method: http.MethodPost, path: path, header: header, upgrade: protocol})
	if err != nil {
		return nil, err
	}
	return &tunnel{Conn: stream.conn, stream: stream}, nil
}

// BuildPruneOptions say how much of the build cache goes. Sizes are bytes; 0 sets no bound.
type BuildPruneOptions struct {
	All           bool // also what other records stand on, and what the builder itself needs
	ReservedSpace int64
	MaxUsedSpace  int64
	MinFreeSpace  int64
	Filters       api.Filters
}

// BuildCachePrune removes what nobody needs of the build cache.
func (c *Client) BuildCachePrune(ctx context.Context, o BuildPruneOptions) (build.CachePruneReport, error) {
	query := url.Values{}
	if o.All {
		query.Set("all", "1")
	}
	for name, size := range map[string]int64{"reserved-space": o.ReservedSpace, "max-used-space": o.MaxUsedSpace, "min-free-space": o.MinFreeSpace} {
		if size != 0 {
			query.Set(name, strconv.FormatInt(size, 10))
		}
	}
	if len(o.Filters) > 0 {
		query.Set("filters", o.Filters.Encode())
	}
	var report build.CachePruneReport
	err := c.post(ctx, "/build/prune", query, nil, &report)
	return report, err
}

// BuildCache lists what is in the build cache.
func (c *Client) BuildCache(ctx context.Context) ([]build.CacheRecord, error) {
	var usage system.DiskUsage
	err := c.get(ctx, "/system/df", url.Values{"type": {"build-cache"}, "verbose": {"1"}}, &usage)
	if err != nil || usage.BuildCacheUsage == nil {
		return nil, err
	}
	return usage.BuildCacheUsage.Items, nil
}
