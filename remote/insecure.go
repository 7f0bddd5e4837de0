package remote

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Trusting is a client that also takes host, with its port if it has one, for an insecure registry. The caller closes it.
func (c *Client) Trusting(host string) (*Client, error) {
	config, now := c.config, c.reach.Load()
	other, err := New(config)
	if err != nil {
		return nil, err
	}
	more := *now
	more.insecure = append(slices.Clone(now.insecure), host)
	other.reach.Store(&more)
	return other, nil
}

// insecure tells whether host, with or without port, may do without valid TLS.
func (c *Client) insecure(host string) bool {
	if slices.Contains(c.reach.Load().insecure, host) {
		return true
	}
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	name = strings.Trim(name, "[]")
	if name == "localhost" {
		return true
	}
	if ip, err := netip.ParseAddr(name); err == nil {
		return ip.Unmap().IsLoopback() || c.inRange(ip)
	}
	if len(c.reach.Load().ranges) == 0 {
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", name)
	return err == nil && len(ips) > 0 && !slices.ContainsFunc(ips, func(ip netip.Addr) bool { return !c.inRange(ip) })
}

func (c *Client) inRange(ip netip.Addr) bool {
	return slices.ContainsFunc(c.reach.Load().ranges, func(p netip.Prefix) bool { return p.Contains(ip.Unmap()) })
}
