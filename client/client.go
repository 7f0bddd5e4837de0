// Package client speaks the Engine HTTP API: one method per call, values of github.com/moby/moby/api/types in and
// out. It starts no goroutine and opens no connection before the first call, asks the daemon nothing it was not asked
// to, and takes the newest API version for granted until a daemon says it is too new.
package client

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cove-containers/cove/api"
)

// Config tells a Client where the daemon is and how to speak to it.
type Config struct {
	// Host is a daemon address such as "unix:///run/cove/cove.sock" or "tcp://10.0.0.1:2376".
	Host string
	// TLS is used with tcp hosts; nil speaks plain HTTP.
	TLS *tls.Config
	// Version pins the API version ("1.45"); empty means the newest, lowered when the daemon asks for it.
	Version string
	// Header is added to every request.
	Header http.Header
	// Daemon is what messages call the daemon: "Cove" when it is empty.
	Daemon string
}

// Client is a connection to one daemon. It is safe for concurrent use.
type Client struct {
	config  Config
	network string // "unix", "tcp", "npipe" or "ssh"
	address string // what to dial
	far     far    // with "ssh"
	base    string // path in front of every call, from a tcp host such as tcp://h:1/prefix
	http    *http.Client
	version atomic.Value // string: the API version in use
	settled atomic.Bool  // the daemon has accepted version, or the user pinned it
}

// New returns a Client for the daemon of config. It does not connect.
func New(config Config) (*Client, error) {
	network, rest, ok := strings.Cut(config.Host, "://")
	if !ok || rest == "" && network != "ssh" {
		return nil, errors.New("unable to parse docker host `" + config.Host + "`")
	}
	c := &Client{config: config, network: network, address: rest}
	switch network {
	case "unix", "npipe":
	case "tcp", "http", "https":
		u, err := url.Parse("tcp://" + rest)
		if err != nil {
			return nil, err
		}
		c.network, c.address, c.base = "tcp", u.Host, strings.TrimSuffix(u.Path, "/")
	case "ssh":
		var err error
		if c.far, err = parseSSH(config.Host); err != nil {
			return nil, err
		}
	default:
		return nil, errors.New("unsupported protocol in daemon address `" + config.Host + "`")
	}
	version := api.Version
	if config.Version != "" {
		version = strings.TrimPrefix(config.Version, "v")
		c.settled.Store(true)
	}
	c.version.Store(version)
	c.http = &http.Client{
		Transport: &http.Transport{
			DialContext:         func(ctx context.Context, _, _ string) (net.Conn, error) { return c.dial(ctx) },
			DialTLSContext:      func(ctx context.Context, _, _ string) (net.Conn, error) { return c.dial(ctx) },
			DisableCompression:  true,
			MaxIdleConnsPerHost: 4,
			IdleConnTimeout:     time.Minute,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c, nil
}

// Host is the daemon's address as it was given.
func (c *Client) Host() string { return c.config.Host }

// Version is the API version in use: the newest one until a daemon has asked for an older.
func (c *Client) Version() string { return c.version.Load().(string) }

// Close drops idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Dial opens a connection to the daemon, for a program that speaks with it by itself.
func (c *Client) Dial(ctx context.Context) (net.Conn, error) { return c.dial(ctx) }

func (c *Client) dial(ctx context.Context) (net.Conn, error) {
	var conn net.Conn
	var err error
	switch c.network {
	case "unix":
		conn, err = (&net.Dialer{}).DialContext(ctx, "unix", c.address)
	case "npipe":
		conn, err = dialPipe(c.address)
	case "ssh":
		return c.far.dial(ctx, c.config.Host)
	default:
		conn, err = (&net.Dialer{KeepAlive: 30 * time.Second}).DialContext(ctx, "tcp", c.address)
	}
	if err != nil {
		return nil, &ConnectError{Host: c.config.Host, Daemon: cmp.Or(c.config.Daemon, "Cove"), Err: err}
	}
	if c.network != "tcp" || c.config.TLS == nil {
		return conn, nil
	}
	config := c.config.TLS.Clone()
	if config.ServerName == "" {
		config.ServerName, _, _ = net.SplitHostPort(c.address)
	}
	secure := tls.Client(conn, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, err
	}
	return secure, nil
}
