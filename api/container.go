package api

import (
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
)

// Container is one as inspect shows it, with what older versions of the API show besides.
type Container struct {
	container.InspectResponse
	// WishedMAC is the hardware address that was asked for on the network of the container's mode; nil for none.
	WishedMAC network.HardwareAddr
}
