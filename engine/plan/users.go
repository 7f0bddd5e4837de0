package plan

import ct "github.com/moby/moby/api/types/container"

// Sharing is another container of which one shares a namespace.
type Sharing struct{ With, Kind string }

// Shared lists the containers whose namespaces count for which user namespace a container can live in.
func Shared(h *ct.HostConfig) (all []Sharing) {
	if h.NetworkMode.IsContainer() {
		all = append(all, Sharing{h.NetworkMode.ConnectedContainer(), "network"})
	}
	if h.IpcMode.IsContainer() {
		all = append(all, Sharing{h.IpcMode.Container(), "IPC"})
	}
	if h.PidMode.IsContainer() {
		all = append(all, Sharing{h.PidMode.Container(), "PID"})
	}
	return all
}
