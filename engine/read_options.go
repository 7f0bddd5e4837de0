package engine

import (
	et "github.com/moby/moby/api/types/events"

	"github.com/cove-containers/cove/container"
	"github.com/cove-containers/cove/engine/view"
)

// The options of what the engine shows; see package view.
type (
	// ListOptions picks containers.
	ListOptions = view.ListOptions
	// EventsOptions picks events.
	EventsOptions = view.EventsOptions
)

// newView makes what shows the engine's state.
func (e *Engine) newView() *view.View {
	p, cfg := e.parts, e.parts.Config
	return view.New(view.Parts{
		Containers: p.Containers, Images: p.Images, Layers: p.Layers, Networks: p.Networks, Volumes: p.Volumes,
		Settings: view.Settings{
			Root: cfg.Root, CgroupParent: cfg.CgroupParent, Name: cfg.Name, Labels: cfg.Labels, LogDriver: cfg.LogDriver,
			Runtimes: e.runtimes(), DefaultRuntime: cfg.DefaultRuntime,
			InsecureRegistries: cfg.InsecureRegistries, Mirrors: cfg.Mirrors, Debug: cfg.Debug,
			SeccompProfile: cfg.SeccompProfile != "", NoNewPrivileges: cfg.NoNewPrivileges, Remapped: cfg.Remap != nil,
		},
		CgroupPath: e.cgroupPath, Devices: p.Devices, ExecIDs: e.execIDs, Bus: e.bus, Closing: e.closing,
		Told: func(c *container.Container, action string) { e.event(c, et.Action(action)) },
	})
}
