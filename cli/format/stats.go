package format

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/container"
)

// Stats is a row of stats.
type Stats struct {
	BlockIO   string
	CPUPerc   string
	Container string
	ID        string
	MemPerc   string
	MemUsage  string
	Name      string
	NetIO     string
	PIDs      string
}

func (Stats) row() {}

// StatsTable is the table of stats.
func StatsTable() Table {
	return Table{
		Fields: []string{"ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs"},
		Headers: map[string]string{
			"Container": "CONTAINER", "Name": "NAME", "ID": "CONTAINER ID", "CPUPerc": "CPU %", "MemUsage": "MEM USAGE / LIMIT",
			"MemPerc": "MEM %", "NetIO": "NET I/O", "BlockIO": "BLOCK I/O", "PIDs": "PIDS",
		},
	}
}

// NoStats is the row of a container about which nothing is known yet.
func NoStats(name, id, shown string) Stats {
	return Stats{Container: name, ID: id, Name: shown, CPUPerc: "--", MemUsage: "-- / --", MemPerc: "--", NetIO: "--", BlockIO: "--", PIDs: "--"}
}

// StatsRow makes a row of one sample; name is what the user called the container.
func StatsRow(name string, s container.StatsResponse, trunc bool) Stats {
	used, limit := memory(s), float64(s.MemoryStats.Limit)
	share := 0.0
	if limit > 0 {
		share = used / limit * 100
	}
	var rx, tx, read, written float64
	for _, n := range s.Networks {
		rx, tx = rx+float64(n.RxBytes), tx+float64(n.TxBytes)
	}
	for _, e := range s.BlkioStats.IoServiceBytesRecursive {
		switch {
		case e.Op == "":
		case e.Op[0] == 'r' || e.Op[0] == 'R':
			read += float64(e.Value)
		case e.Op[0] == 'w' || e.Op[0] == 'W':
			written += float64(e.Value)
		}
	}
	row := Stats{
		Container: name, ID: s.ID, Name: strings.TrimPrefix(s.Name, "/"), CPUPerc: percent(cpu(s)), MemPerc: percent(share),
		MemUsage: BinarySize(used) + " / " + BinarySize(limit), PIDs: strconv.FormatUint(s.PidsStats.Current, 10),
		NetIO:   units.HumanSizeWithPrecision(rx, 3) + " / " + units.HumanSizeWithPrecision(tx, 3),
		BlockIO: units.HumanSizeWithPrecision(read, 3) + " / " + units.HumanSizeWithPrecision(written, 3),
	}
	if trunc {
		row.ID = ShortID(s.ID)
	}
	if row.Name == "" {
		row.Name = "--"
	}
	return row
}

func percent(f float64) string { return fmt.Sprintf("%.2f%%", f) }

// memory is what is used without the part of the page cache that could go at once.
func memory(s container.StatsResponse) float64 {
	m := s.MemoryStats
	for _, name := range []string{"total_inactive_file", "inactive_file"} {
		if cache, ok := m.Stats[name]; ok && cache < m.Usage {
			return float64(m.Usage - cache)
		}
	}
	return float64(m.Usage)
}

// cpu is the share of one processor used between two samples, in percent.
func cpu(s container.StatsResponse) float64 {
	used := float64(s.CPUStats.CPUUsage.TotalUsage) - float64(s.PreCPUStats.CPUUsage.TotalUsage)
	host := float64(s.CPUStats.SystemUsage) - float64(s.PreCPUStats.SystemUsage)
	processors := float64(s.CPUStats.OnlineCPUs)
	if processors == 0 {
		processors = float64(len(s.CPUStats.CPUUsage.PercpuUsage))
	}
	if used <= 0 || host <= 0 {
		return 0
	}
	return used / host * processors * 100
}
