package format

import (
	"fmt"
	"strconv"
	"time"

	"github.com/moby/moby/api/types/system"
)

// Usage is a row of system df.
type Usage struct {
	Active      string
	Reclaimable string
	Size        string
	TotalCount  string
	Type        string
}

func (Usage) row() {}

// UsageTable is the table of system df.
func UsageTable() Table {
	return Table{
		Fields:  []string{"Type", "TotalCount", "Active", "Size", "Reclaimable"},
		Headers: map[string]string{"Type": "TYPE", "TotalCount": "TOTAL", "Active": "ACTIVE", "Size": "SIZE", "Reclaimable": "RECLAIMABLE"},
	}
}

// Usages makes one row for each kind of thing that takes up space.
func Usages(du system.DiskUsage) []Usage {
	row := func(kind string, total, active, size, reclaimable int64) Usage {
		u := Usage{Type: kind, TotalCount: itoa(total), Active: itoa(active), Size: LongSize(size), Reclaimable: LongSize(reclaimable)}
		if size > 0 && kind != "Build Cache" {
			u.Reclaimable += fmt.Sprintf(" (%d%%)", reclaimable*100/size)
		}
		return u
	}
	rows := []Usage{row("Images", 0, 0, 0, 0), row("Containers", 0, 0, 0, 0), row("Local Volumes", 0, 0, 0, 0), row("Build Cache", 0, 0, 0, 0)}
	if i := du.ImageUsage; i != nil {
		rows[0] = row("Images", i.TotalCount, i.ActiveCount, i.TotalSize, i.Reclaimable)
	}
	if c := du.ContainerUsage; c != nil {
		rows[1] = row("Containers", c.TotalCount, c.ActiveCount, c.TotalSize, c.Reclaimable)
	}
	if v := du.VolumeUsage; v != nil {
		rows[2] = row("Local Volumes", v.TotalCount, v.ActiveCount, v.TotalSize, v.Reclaimable)
	}
	if b := du.BuildCacheUsage; b != nil {
		rows[3] = row("Build Cache", b.TotalCount, b.ActiveCount, b.TotalSize, b.Reclaimable)
	}
	return rows
}

// BuildCache is a row of the build cache in system df -v.
type BuildCache struct {
	CacheType     string
	CreatedSince  string
	ID            string
	LastUsedSince string
	Shared        string
	Size          string
	UsageCount    string
}

func (BuildCache) row() {}

// InFull is all that takes up space.
type InFull struct {
	Images     []Image
	Containers []Container
	Volumes    []Volume
	BuildCache []BuildCache
}

// UsageInFull makes rows of everything that takes up space.
func UsageInFull(du system.DiskUsage, trunc bool, now time.Time) InFull {
	var u InFull
	if i := du.ImageUsage; i != nil {
		for _, image := range i.Items {
			row := imageRow(image, trunc, now)
			name := imageNames(image, false)[0]
			row.Repository, row.Tag = name.repository, name.tag
			u.Images = append(u.Images, row)
		}
	}
	if c := du.ContainerUsage; c != nil {
		for i := range c.Items {
			c.Items[i].SizeRootFs = 0
		}
		u.Containers = Containers(c.Items, trunc, now)
	}
	if v := du.VolumeUsage; v != nil {
		u.Volumes = Volumes(v.Items)
	}
	if b := du.BuildCacheUsage; b != nil {
		for _, record := range b.Items {
			row := BuildCache{
				ID: record.ID, CacheType: record.Type, Size: LongSize(record.Size), CreatedSince: Ago(now, record.CreatedAt),
				UsageCount: strconv.Itoa(record.UsageCount), Shared: strconv.FormatBool(record.Shared),
			}
			if record.LastUsedAt != nil {
				row.LastUsedSince = Ago(now, *record.LastUsedAt)
			}
			u.BuildCache = append(u.BuildCache, row)
		}
	}
	return u
}

// UsageImageTable is the table of images in system df -v.
func UsageImageTable() Table {
	t := ImageTable(false)
	t.Fields = []string{"Repository", "Tag", "ID", "CreatedSince", "Size", "SharedSize", "UniqueSize", "Containers"}
	return t
}

// UsageContainerTable is the table of containers in system df -v.
func UsageContainerTable() Table {
	t := ContainerTable(false)
	t.Fields = []string{"ID", "Image", "Command", "LocalVolumes", "Size", "RunningFor", "Status", "Names"}
	return t
}

// UsageVolumeTable is the table of volumes in system df -v.
func UsageVolumeTable() Table {
	t := VolumeTable()
	t.Fields = []string{"Name", "Links", "Size"}
	return t
}

// BuildCacheTable is the table of the build cache in system df -v.
func BuildCacheTable() Table {
	return Table{
		Fields: []string{"ID", "CacheType", "Size", "CreatedSince", "LastUsedSince", "UsageCount", "Shared"},
		Headers: map[string]string{
			"ID": "CACHE ID", "CacheType": "CACHE TYPE", "Size": "SIZE", "CreatedSince": "CREATED", "LastUsedSince": "LAST USED",
			"UsageCount": "USAGE", "Shared": "SHARED",
		},
	}
}
