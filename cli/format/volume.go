package format

import (
	"time"

	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/volume"
)

// Volume is a row of volume ls.
type Volume struct {
	Availability string
	Driver       string
	Group        string
	Labels       string
	Links        string
	Mountpoint   string
	Name         string
	Scope        string
	Size         string
	Status       string
	labels       map[string]string
}

func (Volume) row() {}

// Label gives the value of one label.
func (v Volume) Label(name string) string { return v.labels[name] }

// VolumeTable is the table of volume ls.
func VolumeTable() Table {
	return Table{
		Fields: []string{"Driver", "Name"},
		Headers: map[string]string{
			"Name": "VOLUME NAME", "Group": "GROUP", "Driver": "DRIVER", "Scope": "SCOPE", "Availability": "AVAILABILITY",
			"Mountpoint": "MOUNTPOINT", "Labels": "LABELS", "Links": "LINKS", "Size": "SIZE", "Status": "STATUS",
		},
		Raw: "name: {{.Name}}\ndriver: {{.Driver}}\n",
	}
}

// Volumes makes rows.
func Volumes(list []volume.Volume) []Volume {
	rows := make([]Volume, 0, len(list))
	for _, v := range list {
		row := Volume{
			Name: v.Name, Driver: v.Driver, Scope: v.Scope, Mountpoint: v.Mountpoint, Labels: pairs(v.Labels), labels: v.Labels,
			Links: "N/A", Size: "N/A", Availability: "N/A", Group: "N/A", Status: "N/A",
		}
		if u := v.UsageData; u != nil {
			row.Links, row.Size = itoa(u.RefCount), LongSize(u.Size)
		}
		rows = append(rows, row)
	}
	return rows
}

// Network is a row of network ls.
type Network struct {
	CreatedAt string
	Driver    string
	ID        string
	IPv4      string
	IPv6      string
	Internal  string
	Labels    string
	Name      string
	Scope     string
	labels    map[string]string
}

func (Network) row() {}

// Label gives the value of one label.
func (n Network) Label(name string) string { return n.labels[name] }

// NetworkTable is the table of network ls.
func NetworkTable() Table {
	return Table{
		Fields: []string{"ID", "Name", "Driver", "Scope"},
		Headers: map[string]string{
			"ID": "NETWORK ID", "Name": "NAME", "Driver": "DRIVER", "Scope": "SCOPE", "IPv4": "IPV4", "IPv6": "IPV6",
			"Internal": "INTERNAL", "Labels": "LABELS", "CreatedAt": "CREATED AT",
		},
		Raw: "network_id: {{.ID}}\nname: {{.Name}}\ndriver: {{.Driver}}\nscope: {{.Scope}}\n",
	}
}

// Networks makes rows.
func Networks(list []network.Summary, trunc bool) []Network {
	yes := func(b bool) string {
		if b {
			return "true"
		}
		return "false"
	}
	rows := make([]Network, 0, len(list))
	for _, n := range list {
		row := Network{
			ID: n.ID, Name: n.Name, Driver: n.Driver, Scope: n.Scope, IPv4: yes(n.EnableIPv4), IPv6: yes(n.EnableIPv6),
			Internal: yes(n.Internal), Labels: pairs(n.Labels), labels: n.Labels, CreatedAt: time.Time(n.Created).String(),
		}
		if trunc {
			row.ID = ShortID(n.ID)
		}
		rows = append(rows, row)
	}
	return rows
}

// Context is a row of context ls.
type Context struct {
	Current        bool
	Description    string
	DockerEndpoint string
	Error          string
	Name           string
	Title          string `json:"-"` // the name with the mark of the current one
}

func (Context) row() {}

// ContextTable is the table of context ls.
func ContextTable() Table {
	return Table{
		Fields: []string{"Title", "Description", "DockerEndpoint", "Error"},
		Headers: map[string]string{
			"Title": "NAME", "Name": "NAME", "Description": "DESCRIPTION", "DockerEndpoint": "DOCKER ENDPOINT", "Error": "ERROR", "Current": "CURRENT",
		},
	}
}
