package server

import "github.com/containerd/errdefs"

// errNoSwarm is what everything about swarms answers: Cove is never a member of one.
var errNoSwarm = errdefs.ErrUnavailable.WithMessage(`This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again.`)

func noSwarm(*call) error { return errNoSwarm }

func notInSwarm(*call) error {
	return errdefs.ErrUnavailable.WithMessage("This node is not part of a swarm")
}

// absent answers a call that is known and not built.
func absent(what string) handler {
	return func(*call) error { return missing(what) }
}
