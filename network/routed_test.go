package network

import (
	"net"
	"net/netip"
	"testing"
	"time"

	nt "github.com/moby/moby/api/types/network"
)

// TestRoutedFlowsEnd: who talks to a routed container is not led to the next one with its address as if it were the same connection, and a
// connection to a port that is published no more ends.
func TestRoutedFlowsEnd(t *testing.T) {
	cfg := testConfig(t, 0)
	in := start(t, cfg)
	w := dualWorld(t, cfg)
	in.makeNet(t, "n", 0, func(r *nt.CreateRequest) {
		r.Options = map[string]string{"com.docker.network.bridge.gateway_mode_ipv4": "routed"}
	})
	routeFrom(t, w.ns, userSubnet(0), w.host[0])
	req := on("a", "n")
	req.Ports = nt.PortMap{port("80/udp"): {{}}, port("81/udp"): {{}}}
	box := in.join(t, "a", req)
	at := box.Endpoints["n"].IPAddress
	echo(t, box.NetNS, 80, "first")
	ask := func(c net.Conn) string {
		b := make([]byte, 100)
		for range 3 {
			c.Write([]byte("?"))
			c.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
			if n, err := c.Read(b); err == nil {
				return string(b[:n])
			}
		}
		return ""
	}
	var c net.Conn
	inside(t, w.ns.File, func() {
		var err error
		if c, err = net.Dial("udp4", netip.AddrPortFrom(at, 80).String()); err != nil {
			t.Fatal(err)
		}
	})
	defer c.Close()
	if got := ask(c); got != "first" {
		t.Fatalf("%q", got)
	}
	less := on("a", "n")
	less.Ports = nt.PortMap{port("81/udp"): {{}}}
	if _, err := in.Republish("a", less); err != nil {
		t.Fatal(err)
	}
	if got := ask(c); got != "" {
		t.Errorf("a port that is published no more answers %q", got)
	}
	if _, err := in.Republish("a", req); err != nil {
		t.Fatal(err)
	}
	if got := ask(c); got != "first" {
		t.Errorf("published again: %q", got)
	}
	in.Leave("a")
	in.Forget("a")
	box.NetNS.Close()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		in.graves.mu.Lock()
		left := len(in.graves.open)
		in.graves.mu.Unlock()
		if left == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d devices are still going", left)
		}
	}
	silent := on("b", "n") // which publishes nothing
	silent.Networks["n"].IPAMConfig = &nt.EndpointIPAMConfig{IPv4Address: at}
	next := in.join(t, "b", silent)
	echo(t, next.NetNS, 80, "second")
	if got := ask(c); got != "" {
		t.Errorf("the next container with the address answers %q", got)
	}
}
