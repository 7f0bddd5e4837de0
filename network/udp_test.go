package network

import (
	"fmt"
	"net"
	"os"
	"testing"
	"time"

	nt "github.com/moby/moby/api/types/network"
)

// echo answers every packet to a UDP port inside the namespace with word.
func echo(t *testing.T, ns *os.File, port int, word string) { echoOn(t, ns, "udp4", port, word) }

// echo6 does so by IPv6.
func echo6(t *testing.T, ns *os.File, port int, word string) { echoOn(t, ns, "udp6", port, word) }

func echoOn(t *testing.T, ns *os.File, network string, port int, word string) {
	t.Helper()
	var packets net.PacketConn
	var err error
	inside(t, ns, func() { packets, err = net.ListenPacket(network, fmt.Sprint(":", port)) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { packets.Close() })
	go func() {
		b := make([]byte, 100)
		for {
			_, from, err := packets.ReadFrom(b)
			if err != nil {
				return
			}
			packets.WriteTo([]byte(word), from)
		}
	}()
}

// TestUDPClientsFollowThePort: who goes on asking a port from one socket is answered by the container that has it now: one that came after
// questions in vain, and one that came after another. A client from outside, one on the host and one that is relayed are alike.
func TestUDPClientsFollowThePort(t *testing.T) {
	cfg := testConfig(t, 0)
	in := start(t, cfg)
	in.makeNet(t, "n", 0, nil)
	far, _ := outside(t, cfg)
	number := freeUDP(t)
	clients := map[string]net.Conn{}
	var err error
	if clients["the host"], err = net.Dial("udp4", fmt.Sprint("127.0.0.1:", number)); err != nil {
		t.Fatal(err)
	}
	if clients["the host, by IPv6"], err = net.Dial("udp6", fmt.Sprint("[::1]:", number)); err != nil {
		t.Fatal(err)
	}
	inside(t, far.File, func() {
		clients["outside"], err = net.Dial("udp4", fmt.Sprintf("198.19.%d.1:%d", cfg.BIP.Addr().As4()[2], number))
	})
	if err != nil {
		t.Fatal(err)
	}
	// answer is who answers a client that asks every 50 ms; "" for nobody.
	answer := func(c net.Conn, patience time.Duration) string {
		b := make([]byte, 100)
		for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
			c.Write([]byte("?"))
			c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
			if n, err := c.Read(b); err == nil {
				return string(b[:n])
			}
			time.Sleep(time.Millisecond)
		}
		return ""
	}
	defer func() {
		for _, c := range clients {
			c.Close()
		}
	}()
	for who, c := range clients {
		if got := answer(c, 200*time.Millisecond); got != "" {
			t.Errorf("%s, nobody is there: %q", who, got)
		}
	}
	for _, id := range []string{"first", "second", "third"} {
		req := on(id, "n")
		req.Ports = nt.PortMap{port("53/udp"): {{HostPort: fmt.Sprint(number)}}}
		box := in.join(t, id, req)
		echo(t, box.NetNS, 53, id)
		for who, c := range clients {
			got := ""
			for deadline := time.Now().Add(10 * time.Second); got != id && time.Now().Before(deadline); {
				got = answer(c, time.Second)
			}
			if got != id {
				t.Errorf("%s is answered by %q, want %s", who, got, id)
			}
		}
		if err := in.Leave(id); err != nil {
			t.Fatal(err)
		}
	}
}

// freeUDP is a port that nobody has.
func freeUDP(t *testing.T) int {
	t.Helper()
	p, err := net.ListenPacket("udp4", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	return p.LocalAddr().(*net.UDPAddr).Port
}
