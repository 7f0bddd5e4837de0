package view

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	ct "github.com/moby/moby/api/types/container"
	nt "github.com/moby/moby/api/types/network"

	"github.com/cove-containers/cove/container"
	"github.com/cove-containers/cove/engine/plan"
)

// ContainerList returns the containers that o picks, the newest first.
func (v *View) ContainerList(ctx context.Context, o ListOptions) ([]ct.Summary, error) {
	pick, err := v.compile(ctx, o)
	if err != nil {
		return nil, err
	}
	names := imageNames{view: v, known: map[string]string{}}
	out := []ct.Summary{}
	for _, c := range v.parts.Containers.List() {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if o.Limit > 0 && len(out) == o.Limit {
			break
		}
		if !pick.lets(c) {
			continue
		}
		s := v.summary(c, names.of(ctx, c))
		if o.Size {
			s.SizeRw, s.SizeRootFs = v.sizes(c)
		}
		if pick.letsPorts(s.Ports) {
			out = append(out, s)
		}
	}
	return out, nil
}

func (v *View) summary(c *container.Container, imageName string) ct.Summary {
	s := ct.Summary{
		ID: c.ID, Names: []string{"/" + c.Name}, Image: imageName, ImageID: c.Image.String(),
		ImageManifestDescriptor: c.Manifest, Command: command(c), Created: c.Created.Unix(),
		Ports: portSummaries(c), Labels: c.Config.Labels, State: c.State.Status, Status: c.State.Describe(time.Now()),
		Health:          &ct.HealthSummary{Status: ct.NoHealthcheck},
		NetworkSettings: &ct.NetworkSettingsSummary{Networks: v.endpoints(c)},
		Mounts:          plan.MountPoints(c),
	}
	if s.Labels == nil {
		s.Labels = map[string]string{}
	}
	s.HostConfig.NetworkMode = string(c.HostConfig.NetworkMode)
	s.HostConfig.Annotations = c.HostConfig.Annotations
	if h := c.State.Health; h != nil {
		s.Health = &ct.HealthSummary{Status: h.Status, FailingStreak: h.FailingStreak}
	}
	return s
}

// command is the program and its arguments as ps shows them: quoted where one has a space.
func command(c *container.Container) string {
	words := []string{c.Path}
	for _, a := range c.Args {
		if strings.Contains(a, " ") {
			a = "'" + a + "'"
		}
		words = append(words, a)
	}
	return strings.Join(words, " ")
}

// portSummaries lists the published ports, and those only exposed without a public one, in a fixed order.
func portSummaries(c *container.Container) []ct.PortSummary {
	out := []ct.PortSummary{}
	ports := slices.SortedFunc(maps.Keys(c.Ports), func(a, b nt.Port) int {
		return cmp.Or(cmp.Compare(a.Num(), b.Num()), cmp.Compare(a.Proto(), b.Proto()))
	})
	for _, p := range ports {
		if len(c.Ports[p]) == 0 {
			out = append(out, ct.PortSummary{PrivatePort: p.Num(), Type: string(p.Proto())})
		}
		for _, b := range c.Ports[p] {
			public, err := strconv.ParseUint(b.HostPort, 10, 16)
			if err == nil || b.HostPort == "" { // it is reached at the container's own address
				out = append(out, ct.PortSummary{IP: b.HostIP, PrivatePort: p.Num(), PublicPort: uint16(public), Type: string(p.Proto())})
			}
		}
	}
	return out
}

// endpoints are the container's by network name: while it runs as they are, else as they will be wished for.
func (v *View) endpoints(c *container.Container) map[string]*nt.EndpointSettings {
	out := map[string]*nt.EndpointSettings{}
	if c.HostConfig.NetworkMode.IsContainer() {
		return out
	}
	for name, e := range c.Networks {
		out[name] = e.Copy()
	}
	if len(out) > 0 {
		return out
	}
	for name, e := range c.Wished {
		if name == nt.NetworkDefault {
			name = nt.NetworkBridge
		}
		if e == nil {
			e = &nt.EndpointSettings{}
		}
		out[name] = e.Copy()
	}
	if mode := string(c.HostConfig.NetworkMode); c.Wished == nil && mode != "" && !c.Config.NetworkDisabled {
		out[mode] = &nt.EndpointSettings{}
	}
	if c.Started {
		v.nameNetworks(out)
	}
	return out
}

// nameNetworks fills in the IDs of networks: a container that has been on one still tells which it was.
func (v *View) nameNetworks(endpoints map[string]*nt.EndpointSettings) {
	for name, e := range endpoints {
		if n, err := v.parts.Networks.Inspect(name); err == nil {
			e.NetworkID = n.ID
		}
	}
}

// sizes are what the container has written, and that with its image.
func (v *View) sizes(c *container.Container) (written, whole int64) {
	// A container that is being removed has no layer any more, and no size.
	written, _ = v.parts.Layers.Usage(c.ID)
	whole = written
	for _, d := range c.DiffIDs {
		whole += v.parts.Layers.Size(d)
	}
	return written, whole
}

// imageNames tells how to call the images of containers, looking each name up once.
type imageNames struct {
	view  *View
	known map[string]string // name → ID it means now
}

// of is the name the user gave where that still means the container's image, else the image's ID.
func (n imageNames) of(ctx context.Context, c *container.Container) string {
	name := c.Config.Image
	id, ok := n.known[name]
	if !ok {
		if img, err := n.view.parts.Images.Get(ctx, name, &c.Platform); err == nil {
			id = img.ID.String()
		}
		n.known[name] = id
	}
	if id == c.Image.String() {
		return name
	}
	return c.Image.String()
}

// portRange is a filter's value for ports: "80", "80/udp" or "8000-8010/tcp".
func portRange(filter, text string) (nt.PortRange, error) {
	r, err := nt.ParsePortRange(text)
	if err != nil {
		return r, fmt.Errorf("error while looking up for %s %s: %w", filter, text, err)
	}
	return r, nil
}
