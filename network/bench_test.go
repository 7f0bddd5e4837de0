package network

import (
	"context"
	"fmt"
	"testing"
	"time"

	nt "github.com/moby/moby/api/types/network"

	"github.com/cove-containers/cove/network/ipam"
)

func BenchmarkJoin(b *testing.B) {
	cfg := testConfig(b, 0)
	cfg.Warm = 32
	in := start(b, cfg)
	for i := 0; b.Loop(); i++ {
		b.StopTimer()
		for {
			full := len(in.lans["bridge"].warm.Ready()) > 16
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
	box, err := in.Join(context.Background(), "a", Request{Name: "a"})
	if err != nil {
		b.Fatal(err)
	}
	defer box.NetNS.Close()
	for b.Loop() {
		m := in.members["a"].clone()
		if err := in.publish(m, Request{Ports: nt.PortMap{port("80/tcp"): {{}}}}); err != nil {
			b.Fatal(err)
		}
		in.withdraw(m)
	}
	in.Leave("a")
}

func BenchmarkMakeAhead(b *testing.B) {
	cfg := testConfig(b, 0)
	cfg.Warm = -1
	in := start(b, cfg)
	for b.Loop() {
		r, err := in.makeOn(in.lans["bridge"], ipam.Pair{})
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		in.drop(r)
		b.StartTimer()
	}
}
