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
	p := e.parts
	return view.New(view.Parts{
		Containers: p.Containers, Images: p.Images, Layers: p.Layers, Networks: p.Networks, Volumes: p.Volumes,
		Settings:   e.shown,
		CgroupPath: e.cgroupPath, Devices: p.Devices, ExecIDs: e.execIDs, Bus: e.bus, Closing: e.closing,
		Told: func(c *container.Container, action string) { e.event(c, et.Action(action)) },
	})
}

// shown are the settings that the view shows.
func (e *Engine) shown() view.Settings {
	cfg := e.config()
	return view.Settings{
		Root: cfg.Root, CgroupParent: cfg.CgroupParent, Name: cfg.Name, Labels: cfg.Labels, LogDriver: cfg.LogDriver,
		Runtimes: e.runtimes(), DefaultRuntime: cfg.DefaultRuntime,
		InsecureRegistries: cfg.InsecureRegistries, Mirrors: cfg.Mirrors, Debug: cfg.Debug, Experimental: cfg.Experimental,
		SeccompProfile: cfg.SeccompProfile != "", NoNewPrivileges: cfg.NoNewPrivileges, Remapped: cfg.Remap != nil, AppArmor: cfg.AppArmor != nil,
	}
}

// config is the engine's settings as they are now.
func (e *Engine) config() *Config { return e.current.Load() }

// Reload changes settings of the running engine, for what is made or started from then on, and tells who listens to events what they
// are now. Those that say where things are stay as they were. It is called by one at a time.
func (e *Engine) Reload(change func(*Config), told map[string]string) {
	next := *e.config()
	change(&next)
	if next.DefaultRuntime == "" {
		next.DefaultRuntime = OwnRuntime
	}
	e.current.Store(&next)
	id, name := e.View.Self()
	told["name"] = name
	e.log(et.DaemonEventType, et.ActionReload, id, told)
}
