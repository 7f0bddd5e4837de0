package plan

import (
	"strconv"

	et "github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/mount"
	nt "github.com/moby/moby/api/types/network"

	"github.com/cove-containers/cove/container"
)

// Begun tells which networks a container that has started joined, and which volumes it began to use.
func Begun(c *container.Container) []et.Message {
	return append(networkEvents(c, et.ActionConnect), volumeEvents(c, et.ActionMount)...)
}

// Ended tells which networks a container left, and which volumes it ceased to use; as it was when it ran.
func Ended(c *container.Container) []et.Message {
	return append(networkEvents(c, et.ActionDisconnect), volumeEvents(c, et.ActionUnmount)...)
}

func networkEvents(c *container.Container, action et.Action) (all []et.Message) {
	for name, endpoint := range c.Networks {
		kind := name
		if kind != nt.NetworkHost && kind != nt.NetworkNone {
			kind = nt.NetworkBridge
		}
		if kind == nt.NetworkNone {
			kind = "null"
		}
		all = append(all, message(et.NetworkEventType, action, endpoint.NetworkID, map[string]string{"container": c.ID, "name": name, "type": kind}))
	}
	return all
}

func volumeEvents(c *container.Container, action et.Action) (all []et.Message) {
	for _, m := range c.Mounts {
		if m.Type != mount.TypeVolume {
			continue
		}
		attrs := map[string]string{"container": c.ID, "driver": m.Driver}
		if action == et.ActionMount {
			attrs["destination"], attrs["propagation"], attrs["read/write"] = m.Target, string(m.Propagation), strconv.FormatBool(m.RW)
		}
		all = append(all, message(et.VolumeEventType, action, m.Name, attrs))
	}
	return all
}

func message(kind et.Type, action et.Action, id string, attrs map[string]string) et.Message {
	return et.Message{Type: kind, Action: action, Actor: et.Actor{ID: id, Attributes: attrs}}
}
