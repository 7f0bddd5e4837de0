package solve

import "sync"

// Crowd are those who wait for a running step. What a step tells it reaches everyone, whoever comes later included.
type Crowd[M any] struct {
	mu      sync.Mutex
	members []*M
	told    []news[M]
	at      map[string]int // where in told the news of this subject is
}

type news[M any] struct {
	subject string
	tell    func(M)
}

// Members are those who wait now, the longest waiting first.
func (c *Crowd[M]) Members() []M {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make([]M, len(c.members))
	for i, m := range c.members {
		out[i] = *m
	}
	return out
}

// Tell calls tell for everyone who waits, and for everyone who will have come. News of a subject that is not empty makes
// earlier news of it unnecessary for those. tell must not call back.
func (c *Crowd[M]) Tell(subject string, tell func(M)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i, ok := c.at[subject]; ok && subject != "" {
		c.told[i].tell = tell
	} else {
		if subject != "" {
			if c.at == nil {
				c.at = map[string]int{}
			}
			c.at[subject] = len(c.told)
		}
		c.told = append(c.told, news[M]{subject, tell})
	}
	for _, m := range c.members {
		tell(*m)
	}
}

// join takes m in. Nothing else is told to anybody until hear is called, which lets m hear what was told so far.
func (c *Crowd[M]) join(m M) (seat *M, hear func()) {
	c.mu.Lock()
	c.members = append(c.members, &m)
	return &m, func() {
		defer c.mu.Unlock()
		for _, n := range c.told {
			n.tell(m)
		}
	}
}

func (c *Crowd[M]) leave(m *M) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, other := range c.members {
		if other == m {
			c.members = append(c.members[:i:i], c.members[i+1:]...)
			return
		}
	}
}
