package view

import (
	"sync"
	"time"
)

// Crowd is a number of clients that somebody waits for.
type Crowd struct {
	mu   sync.Mutex
	size int
	gone chan struct{}
}

// Enter adds a client until it calls leave.
func (c *Crowd) Enter() (leave func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.size++
	if c.gone == nil {
		c.gone = make(chan struct{})
	}
	return sync.OnceFunc(func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.size--
		if c.size == 0 {
			close(c.gone)
			c.gone = nil
		}
	})
}

// Wait returns when all have left, or after limit.
func (c *Crowd) Wait(limit time.Duration) {
	c.mu.Lock()
	gone := c.gone
	c.mu.Unlock()
	if gone == nil {
		return
	}
	select {
	case <-gone:
	case <-time.After(limit):
	}
}
