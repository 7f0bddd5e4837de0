// Package gate keeps those who read the trees of a layer and the one who rearranges them apart.
package gate

import "sync"

// Gate has an entrance for each layer. The zero Gate is ready.
type Gate struct {
	mu     sync.Mutex
	inside map[string]int
	closed map[string]chan struct{}
}

// Enter keeps the trees of the layer id, and of its snapshots, from being rearranged until leave. It waits while that is going on.
func (g *Gate) Enter(id string) (leave func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.closed[id] != nil {
		wait := g.closed[id]
		g.mu.Unlock()
		<-wait
		g.mu.Lock()
	}
	if g.inside == nil {
		g.inside = map[string]int{}
	}
	g.inside[id]++
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.inside[id]--; g.inside[id] == 0 {
			delete(g.inside, id)
		}
	}
}

// Shut closes the entrance unless somebody is inside; open ends that.
func (g *Gate) Shut(id string) (open func(), ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.inside[id] > 0 || g.closed[id] != nil {
		return nil, false
	}
	if g.closed == nil {
		g.closed = map[string]chan struct{}{}
	}
	closed := make(chan struct{})
	g.closed[id] = closed
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		delete(g.closed, id)
		close(closed)
	}, true
}
