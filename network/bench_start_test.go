package network

import (
	"context"
	"fmt"
	"testing"
	"time"

	nt "github.com/moby/moby/api/types/network"
)

// BenchmarkStart joins a network of a user's with an alias and two ports, as a container does that starts, with what is made ahead
// ready, and leaves it.
func BenchmarkStart(b *testing.B) {
	in := start(b, testConfig(b, 0))
	if _, err := in.Create(context.Background(), nt.CreateRequest{Name: "n"}); err != nil {
		b.Fatal(err)
	}
	var joins, leaves time.Duration
	n := 0
	for i := 0; b.Loop(); i++ {
		b.StopTimer()
		time.Sleep(60 * time.Millisecond)
		id := fmt.Sprintf("%064d", i)
		req := on(id, "n")
		req.Networks = map[string]*nt.EndpointSettings{"n": {Aliases: []string{"alias"}}}
		req.Ports = nt.PortMap{port("80/tcp"): {{HostPort: "28080"}}, port("81/tcp"): {{HostPort: "28081"}}}
		b.StartTimer()
		began := time.Now()
		box, err := in.Join(context.Background(), id, req)
		joins += time.Since(began)
		if err != nil {
			b.Fatal(err)
		}
		box.Close()
		began = time.Now()
		in.Leave(id)
		leaves += time.Since(began)
		n++
	}
	b.ReportMetric(float64(joins.Microseconds())/float64(n), "join-µs")
	b.ReportMetric(float64(leaves.Microseconds())/float64(n), "leave-µs")
}
