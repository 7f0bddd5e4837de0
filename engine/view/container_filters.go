package view

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	ct "github.com/moby/moby/api/types/container"
	nt "github.com/moby/moby/api/types/network"
	"github.com/opencontainers/go-digest"

	"github.com/cove-containers/cove/api"
	"github.com/cove-containers/cove/container"
	"github.com/cove-containers/cove/engine/plan"
)

// filter decides over one container.
type filter func(*container.Container) bool

// picker is a list request made ready: what may be said of a container by its record, and by its ports.
type picker struct {
	filters         []filter
	publish, expose []nt.PortRange
}

func (p *picker) lets(c *container.Container) bool {
	for _, f := range p.filters {
		if !f(c) {
			return false
		}
	}
	return true
}

// letsPorts tells whether one of the ports is published, or exposed, as asked.
func (p *picker) letsPorts(ports []ct.PortSummary) bool {
	within := func(ranges []nt.PortRange, number func(ct.PortSummary) uint16) bool {
		return len(ranges) == 0 || slices.ContainsFunc(ports, func(s ct.PortSummary) bool {
			return slices.ContainsFunc(ranges, func(r nt.PortRange) bool {
				n := number(s)
				return n != 0 && n >= r.Start() && n <= r.End() && s.Type == string(r.Proto())
			})
		})
	}
	return within(p.publish, func(s ct.PortSummary) uint16 { return s.PublicPort }) &&
		within(p.expose, func(s ct.PortSummary) uint16 { return s.PrivatePort })
}

func badFilter(name, value string) error {
	return errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("invalid filter '%s=%s'", name, value))
}

// compile reads the filters of a list request. Errors are errdefs.ErrInvalidArgument, in Docker's words, and
// errdefs.ErrNotFound for a container in before or since that is not there.
func (v *View) compile(ctx context.Context, o ListOptions) (*picker, error) {
	f := o.Filters
	err := f.Check("ancestor", "annotation", "before", "exited", "expose", "health", "id", "is-task", "isolation", "label", "name",
		"network", "publish", "since", "status", "volume")
	if err != nil {
		return nil, err
	}
	p := &picker{}
	for _, read := range []func(*picker, ListOptions) error{states, exitCodes, tasks, ports, v.neighbours} {
		if err := read(p, o); err != nil {
			return nil, err
		}
	}
	p.add(f.Has("label"), func(c *container.Container) bool { return f.Labels("label", c.Config.Labels) })
	p.add(f.Has("annotation"), func(c *container.Container) bool { return f.Labels("annotation", c.HostConfig.Annotations) })
	named, identified := f.Matcher("name"), f.Matcher("id")
	p.add(f.Has("name"), func(c *container.Container) bool { return named(c.Name) || named("/"+c.Name) })
	p.add(f.Has("id"), func(c *container.Container) bool { return prefixed(f, "id", c.ID) || identified(c.ID) })
	p.add(f.Has("network"), v.onNetwork(f))
	p.add(f.Has("volume"), func(c *container.Container) bool { return v.hasVolume(f, c) })
	if f.Has("ancestor") {
		p.add(true, v.madeFrom(ctx, f.Get("ancestor")))
	}
	return p, nil
}

func (p *picker) add(given bool, f filter) {
	if given {
		p.filters = append(p.filters, f)
	}
}

// prefixed tells whether one of the filter's values begins value.
func prefixed(f api.Filters, name, value string) bool {
	return slices.ContainsFunc(f.Get(name), func(v string) bool { return v != "" && strings.HasPrefix(value, v) })
}

// states reads status and health, and leaves out what does not run where nobody asked for it.
func states(p *picker, o ListOptions) error {
	f := o.Filters
	for _, s := range f.Get("status") {
		if ct.ValidateContainerState(ct.ContainerState(s)) != nil {
			return badFilter("status", s)
		}
	}
	for _, h := range f.Get("health") {
		if ct.ValidateHealthStatus(ct.HealthStatus(h)) != nil {
			return errdefs.ErrInvalidArgument.WithMessage("unrecognized filter value for health: " + h)
		}
	}
	p.add(!o.All && o.Limit <= 0 && !f.Has("status"), func(c *container.Container) bool { return c.State.Busy() })
	p.add(f.Has("status"), func(c *container.Container) bool { return f.Exact("status", string(c.State.Status)) })
	p.add(f.Has("health"), func(c *container.Container) bool {
		health := ct.NoHealthcheck
		if c.State.Health != nil {
			health = c.State.Health.Status
		}
		return f.Exact("health", string(health))
	})
	return nil
}

func exitCodes(p *picker, o ListOptions) error {
	codes := map[int]bool{}
	for _, text := range o.Filters.Get("exited") {
		code, err := strconv.Atoi(text)
		if err != nil {
			return errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("invalid filter 'exited=%s'", text))
		}
		codes[code] = true
	}
	p.add(len(codes) > 0, func(c *container.Container) bool {
		return codes[c.State.ExitCode] && !c.State.Busy() && !c.State.StartedAt.IsZero()
	})
	return nil
}

// tasks: no container here is a task of a swarm. Isolation is the same for all and picks nothing out.
func tasks(p *picker, o ListOptions) error {
	tasks, err := o.Filters.Bool("is-task", false)
	p.add(tasks, func(*container.Container) bool { return false })
	return err
}

func ports(p *picker, o ListOptions) error {
	for name, into := range map[string]*[]nt.PortRange{"publish": &p.publish, "expose": &p.expose} {
		for _, text := range o.Filters.Get(name) {
			r, err := portRange(name, text)
			if err != nil {
				return errdefs.ErrInvalidArgument.WithMessage(err.Error())
			}
			*into = append(*into, r)
		}
	}
	return nil
}

// neighbours reads before and since: of several the nearest counts.
func (v *View) neighbours(p *picker, o ListOptions) error {
	find := func(name string) ([]time.Time, error) {
		var times []time.Time
		for _, ref := range o.Filters.Get(name) {
			c, err := v.parts.Containers.Get(ref)
			if err != nil {
				return nil, err
			}
			times = append(times, c.Created)
		}
		return times, nil
	}
	before, err := find("before")
	if err != nil {
		return err
	}
	since, err := find("since")
	if err != nil {
		return err
	}
	p.add(len(before) > 0, func(c *container.Container) bool {
		return !slices.ContainsFunc(before, func(t time.Time) bool { return !c.Created.Before(t) })
	})
	p.add(len(since) > 0, func(c *container.Container) bool {
		return !slices.ContainsFunc(since, func(t time.Time) bool { return !c.Created.After(t) })
	})
	return nil
}

// onNetwork finds the containers on the networks that are called so, or whose ID begins so.
func (v *View) onNetwork(f api.Filters) filter {
	names := map[string]bool{}
	for _, ref := range f.Get("network") {
		names[ref] = true
		if n, err := v.parts.Networks.Inspect(ref); err == nil {
			names[n.Name] = true
		}
	}
	return func(c *container.Container) bool {
		for name, e := range v.endpoints(c) {
			if names[name] || prefixed(f, "network", e.NetworkID) {
				return true
			}
		}
		return false
	}
}

func (v *View) hasVolume(f api.Filters, c *container.Container) bool {
	return slices.ContainsFunc(plan.MountPoints(c), func(m ct.MountPoint) bool {
		source := m.Name
		if source == "" {
			source = m.Source
		}
		return f.Exact("volume", source) || f.Exact("volume", m.Destination)
	})
}

// madeFrom finds the containers of an image, and of images that are built on it.
func (v *View) madeFrom(ctx context.Context, refs []string) filter {
	type ancestor struct {
		ids     []digest.Digest
		diffIDs []digest.Digest
	}
	var ancestors []ancestor
	for _, ref := range refs {
		// What is no image is nobody's ancestor.
		if img, err := v.parts.Images.Get(ctx, ref, nil); err == nil {
			ancestors = append(ancestors, ancestor{[]digest.Digest{img.ID, img.Manifest.Digest}, img.DiffIDs})
		}
	}
	return func(c *container.Container) bool {
		for _, a := range ancestors {
			built := len(a.diffIDs) > 0 && len(c.DiffIDs) >= len(a.diffIDs) && slices.Equal(c.DiffIDs[:len(a.diffIDs)], a.diffIDs)
			if built || slices.Contains(a.ids, c.Image) {
				return true
			}
		}
		return false
	}
}
