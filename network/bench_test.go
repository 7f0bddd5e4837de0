package network

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"
)

func BenchmarkJoin(b *testing.B) {
	cfg := testConfig(b, 0)
	cfg.Warm = 32
	in := start(b, cfg)
	for i := 0; b.Loop(); i++ {
		b.StopTimer()
		for {
			in.warm.mu.Lock()
			full := len(in.warm.ready) > 16
			in.warm.mu.Unlock()
			if full {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		id := fmt.Sprint("c", i)
		b.StartTimer()
		box, err := in.Join(context.Background(), id, Request{Name: id})
		b.StopTimer()
		if err != nil {
			b.Fatal(err)
		}
		box.NetNS.Close()
		in.Leave(id)
		b.StartTimer()
	}
}

func BenchmarkPublish(b *testing.B) {
	in := start(b, testConfig(b, 0))
	box := in.join(b, "x", Request{})
	address := box.Endpoints["bridge"].IPAddress
	m := &member{address: address, veth: in.vethName(address), name: "x"}
	for b.Loop() {
		published, err := in.publish(m, []wish{{inside: port("80/tcp"), host: netip.IPv4Unspecified()}})
		if err != nil {
			b.Fatal(err)
		}
		m.published = published
		in.withdraw(m)
	}
}

func BenchmarkMakeAhead(b *testing.B) {
	cfg := testConfig(b, 0)
	cfg.Warm = -1
	in := start(b, cfg)
	for b.Loop() {
		r, err := in.makeOnBridge()
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		in.drop(r)
		b.StartTimer()
	}
}
