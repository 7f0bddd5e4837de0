package format

import (
	"cmp"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cove-containers/cove/oci"
	"github.com/cove-containers/cove/ref"
	"github.com/moby/moby/api/types/container"
)

func sortStrings(list []string) { slices.Sort(list) }

// Container is a row of ps.
type Container struct {
	Command      string
	CreatedAt    string
	HealthStatus string
	ID           string
	Image        string
	Labels       string
	LocalVolumes string
	Mounts       string
	Names        string
	Networks     string
	Platform     *Platform
	Ports        string
	RunningFor   string
	Size         string
	State        string
	Status       string
	labels       map[string]string
}

func (Container) row() {}

// Label gives the value of one label.
func (c Container) Label(name string) string { return c.labels[name] }

// Platform is what a container's image was made for.
type Platform struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
	Variant      string `json:"variant,omitempty"`
}

// String gives "os/architecture".
func (p *Platform) String() string {
	if p == nil {
		return ""
	}
	return oci.FormatPlatform(oci.Normalize(ociPlatform(p)))
}

// ContainerTable is the table of ps.
func ContainerTable(size bool) Table {
	t := Table{
		Fields: []string{"ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names"},
		Headers: map[string]string{
			"ID": "CONTAINER ID", "Names": "NAMES", "Image": "IMAGE", "Command": "COMMAND", "CreatedAt": "CREATED AT",
			"RunningFor": "CREATED", "Ports": "PORTS", "State": "STATE", "Status": "STATUS", "Size": "SIZE", "Labels": "LABELS",
			"Mounts": "MOUNTS", "LocalVolumes": "LOCAL VOLUMES", "Networks": "NETWORKS", "Platform": "PLATFORM",
			"HealthStatus": "HEALTH STATUS",
		},
	}
	t.Raw = "container_id: {{.ID}}\nimage: {{.Image}}\ncommand: {{.Command}}\ncreated_at: {{.CreatedAt}}\nstate: {{- pad .State 1 0}}\n" +
		"status: {{- pad .Status 1 0}}\nnames: {{.Names}}\nlabels: {{- pad .Labels 1 0}}\nports: {{- pad .Ports 1 0}}\n"
	if size {
		t.Fields = append(t.Fields, "Size")
		t.Raw += "size: {{.Size}}\n"
	}
	return t
}

// Containers makes rows; trunc shortens what is long.
func Containers(list []container.Summary, trunc bool, now time.Time) []Container {
	rows := make([]Container, 0, len(list))
	for _, c := range list {
		row := Container{
			ID: c.ID, Command: c.Command, Image: containerImage(c, trunc), Names: names(c.Names, trunc),
			CreatedAt: time.Unix(c.Created, 0).String(), RunningFor: Ago(now, time.Unix(c.Created, 0)),
			Ports: Ports(c.Ports), State: string(c.State), Status: c.Status, Labels: pairs(c.Labels), labels: c.Labels,
			Mounts: mounts(c.Mounts, trunc), LocalVolumes: localVolumes(c.Mounts), Size: containerSize(c), HealthStatus: health(c),
		}
		if trunc {
			row.ID, row.Command = ShortID(c.ID), Ellipsis(c.Command, 20)
		}
		row.Command = strconv.Quote(row.Command)
		if c.NetworkSettings != nil {
			row.Networks = strings.Join(slices.Sorted(maps.Keys(c.NetworkSettings.Networks)), ",")
		}
		if d := c.ImageManifestDescriptor; d != nil && d.Platform != nil {
			row.Platform = &Platform{Architecture: d.Platform.Architecture, OS: d.Platform.OS, Variant: d.Platform.Variant}
		}
		rows = append(rows, row)
	}
	return rows
}

func containerImage(c container.Summary, trunc bool) string {
	if c.Image == "" {
		return "<no image>"
	}
	if !trunc {
		return c.Image
	}
	if short := ShortID(c.ImageID); short == ShortID(c.Image) {
		return short
	}
	name, err := ref.Parse(c.Image)
	if err != nil {
		return c.Image
	}
	name.Digest = ""
	return name.Familiar()
}

// names leaves the names that links gave out when trunc is set.
func names(list []string, trunc bool) string {
	var out []string
	for _, n := range list {
		n = strings.TrimPrefix(n, "/")
		if trunc && strings.Contains(n, "/") {
			continue
		}
		out = append(out, n)
		if trunc {
			break
		}
	}
	return strings.Join(out, ",")
}

func mounts(list []container.MountPoint, trunc bool) string {
	var out []string
	for _, m := range list {
		name := cmp.Or(m.Name, m.Source)
		if trunc {
			name = Ellipsis(name, 15)
		}
		out = append(out, name)
	}
	return strings.Join(out, ",")
}

func localVolumes(list []container.MountPoint) string {
	n := 0
	for _, m := range list {
		if m.Driver == "local" {
			n++
		}
	}
	return strconv.Itoa(n)
}

func containerSize(c container.Summary) string {
	if c.SizeRootFs > 0 {
		return Size(c.SizeRw) + " (virtual " + Size(c.SizeRootFs) + ")"
	}
	return Size(c.SizeRw)
}

func health(c container.Summary) string {
	if c.Health != nil && c.Health.Status != "" {
		return string(c.Health.Status)
	}
	_, h, _ := strings.Cut(c.Status, "(")
	switch h = strings.TrimPrefix(strings.TrimSuffix(h, ")"), "health: "); h {
	case "healthy", "unhealthy", "starting":
		return h
	}
	return ""
}

// Ports gives the ports of a container on one line: neighbours as ranges, those bound to another number of the host
// one by one.
func Ports(list []container.PortSummary) string {
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b container.PortSummary) int {
		return cmp.Or(cmp.Compare(a.PrivatePort, b.PrivatePort), a.IP.Compare(b.IP), cmp.Compare(a.PublicPort, b.PublicPort), cmp.Compare(a.Type, b.Type))
	})
	type group struct {
		ip, kind    string
		first, last uint16
	}
	show := func(g group) string {
		text := strconv.Itoa(int(g.first))
		if g.first != g.last {
			text += "-" + strconv.Itoa(int(g.last))
		}
		if g.ip != "" {
			text = net.JoinHostPort(g.ip, text) + "->" + text
		}
		return text + "/" + g.kind
	}
	var open []group
	var out, single []string
	for _, p := range list {
		g := group{kind: p.Type, first: p.PrivatePort, last: p.PrivatePort}
		if p.IP.IsValid() {
			g.ip = p.IP.String()
			if p.PublicPort != p.PrivatePort {
				host := net.JoinHostPort(g.ip, strconv.Itoa(int(p.PublicPort)))
				single = append(single, host+"->"+strconv.Itoa(int(p.PrivatePort))+"/"+p.Type)
				continue
			}
		}
		i := slices.IndexFunc(open, func(o group) bool { return o.ip == g.ip && o.kind == g.kind })
		switch {
		case i < 0:
			open = append(open, g)
		case open[i].last+1 == g.first:
			open[i].last = g.first
		default:
			out = append(out, show(open[i]))
			open[i] = g
		}
	}
	for _, g := range open {
		out = append(out, show(g))
	}
	return strings.Join(append(out, single...), ", ")
}
