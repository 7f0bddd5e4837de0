package api

import "github.com/moby/moby/api/types/network"

// PublishFrom is the annotation of a container that says who may connect to what it publishes: addresses and ranges of
// addresses, separated by commas. With a dot and a port of the container after it, such as ".80/tcp", it is for this port.
const PublishFrom = "cove.publish-from"

// PortChange is the body of a call that publishes ports of a container that is there, or ends that.
type PortChange struct {
	// Ports are, by the container's port, where on the host. To end what is published, an empty address or port of the host
	// stands for any.
	Ports network.PortMap
	// From are the addresses and ranges that may connect to them; none for whatever the container says for all its ports.
	From []string `json:",omitempty"`
}
