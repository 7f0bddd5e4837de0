package format

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/system"
	"github.com/moby/moby/api/types/volume"
)

var now = time.Unix(1_700_000_000, 0)

func containers() []container.Summary {
	one := container.Summary{
		ID: strings.Repeat("1234567890ab", 5) + "cdef", Names: []string{"/web", "/other/alias"}, Image: "docker.io/library/busybox:latest", ImageID: "sha256:77",
		Command: `sh -c 'while :; do sleep 1; done'`, Created: now.Add(-3 * time.Minute).Unix(), State: "running", Status: "Up 3 minutes (healthy)",
		Labels: map[string]string{"b": "2", "a": "1"}, SizeRw: 1234, SizeRootFs: 4_450_000,
		Ports:  []container.PortSummary{{IP: netip.MustParseAddr("0.0.0.0"), PrivatePort: 80, PublicPort: 8080, Type: "tcp"}, {PrivatePort: 81, Type: "tcp"}, {PrivatePort: 82, Type: "tcp"}},
		Mounts: []container.MountPoint{{Name: "a-volume-with-a-long-name", Driver: "local"}, {Source: "/host"}},
	}
	one.NetworkSettings = &container.NetworkSettingsSummary{Networks: map[string]*network.EndpointSettings{"bridge": nil}}
	two := container.Summary{ID: "ffffffffffffffff", Names: []string{"/b"}, Image: "sha256:abcdefabcdef0123", ImageID: "sha256:abcdefabcdef0123", Command: "true", Created: now.Add(-26 * time.Hour).Unix(), State: "exited", Status: "Exited (0) 26 hours ago"}
	return []container.Summary{one, two}
}

func TestContainers(t *testing.T) {
	rows := Containers(containers(), true, now)
	for _, c := range []struct{ name, layout, want string }{
		{"table", "", `CONTAINER ID   IMAGE            COMMAND                  CREATED         STATUS                    PORTS                             NAMES
1234567890ab   busybox:latest   "sh -c 'while :; do …"   3 minutes ago   Up 3 minutes (healthy)    81-82/tcp, 0.0.0.0:8080->80/tcp   web
ffffffffffff   abcdefabcdef     "true"                   26 hours ago    Exited (0) 26 hours ago                                     b
`},
		{"columns", `table {{.Names}}\t{{.Label "a"}}\t{{upper .State}}\t{{.LocalVolumes}}\t{{.Mounts}}`, `NAMES     a         STATE     LOCAL VOLUMES   MOUNTS
web       1         RUNNING   1               a-volume-with-…,/host
b                   EXITED    0               
`},
		{"template", `{{.Names}} {{.HealthStatus}} {{.Size}} {{.Labels}} {{.Networks}} {{pad .Names 1 1}}|{{truncate .Names 2}}|{{join (split .Labels ",") "+"}}|{{title .State}}`, `web healthy 1.23kB (virtual 4.45MB) a=1,b=2 bridge  web |we|a=1+b=2|Running
b  0B    b |b||Exited
`},
		{"escapes", `{{.Names}}\t{{println .State}}`, "web\trunning\n\nb\texited\n\n"},
	} {
		t.Run(c.name, func(t *testing.T) { compare(t, c.layout, ContainerTable(false), rows, c.want) })
	}
	compare(t, "json", ContainerTable(false), rows[1:], `{"Command":"\"true\"","CreatedAt":"`+time.Unix(containers()[1].Created, 0).String()+
		`","HealthStatus":"","ID":"ffffffffffff","Image":"abcdefabcdef","Labels":"","LocalVolumes":"0","Mounts":"","Names":"b","Networks":"","Platform":null,"Ports":"","RunningFor":"26 hours ago","Size":"0B","State":"exited","Status":"Exited (0) 26 hours ago"}`+"\n")
	whole := Containers(containers(), false, now)[0]
	if whole.Names != "web,other/alias" || whole.Image != "docker.io/library/busybox:latest" || len(whole.ID) != 64 {
		t.Errorf("not truncated: %+v", whole)
	}
}

func compare[R any](t *testing.T, layout string, table Table, rows []R, want string) {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, layout, table, rows); err != nil {
		t.Fatal(err)
	}
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}

func TestEmptyTables(t *testing.T) {
	compare[Container](t, "", ContainerTable(true), nil, "CONTAINER ID   IMAGE     COMMAND   CREATED   STATUS    PORTS     NAMES     SIZE\n")
	compare[Image](t, "table", ImageTable(false), nil, "REPOSITORY   TAG       IMAGE ID   CREATED   SIZE\n")
	compare[Volume](t, "", VolumeTable(), nil, "DRIVER    VOLUME NAME\n")
	compare[Network](t, "", NetworkTable(), nil, "NETWORK ID   NAME      DRIVER    SCOPE\n")
	compare[History](t, "", HistoryTable(false), nil, "IMAGE     CREATED AT   CREATED BY   SIZE      COMMENT\n")
	compare[Stats](t, "", StatsTable(), nil, "CONTAINER ID   NAME      CPU %     MEM USAGE / LIMIT   MEM %     NET I/O   BLOCK I/O   PIDS\n")
	compare[Container](t, "json", ContainerTable(false), nil, "")
}

func TestTemplateErrors(t *testing.T) {
	rows := Containers(containers(), true, now)
	for layout, want := range map[string]string{
		"{{.Nope}}": `template parsing error: template: :1:2: executing "" at <.Nope>: can't evaluate field Nope in type format.Container`,
		"{{.Nope":   "template parsing error: template: :1: unclosed action",
	} {
		if err := Write(&bytes.Buffer{}, layout, ContainerTable(false), rows); err == nil || err.Error() != want {
			t.Errorf("%s: got %v\nwant %s", layout, err, want)
		}
	}
	if err := Check[Container]("{{.Nope"); err == nil || err.Error() != "failed to parse template: template: :1: unclosed action" {
		t.Error(err)
	}
	if err := Check[Container]("{{.Names}}"); err != nil {
		t.Error(err)
	}
}

func TestImages(t *testing.T) {
	const sum = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	list := []image.Summary{
		{ID: sum, RepoTags: []string{"busybox:latest", "127.0.0.1:5000/x:1"}, RepoDigests: []string{"busybox@" + sum}, Created: now.Add(-time.Hour).Unix(), Size: 4_446_000, SharedSize: -1, Containers: -1},
		{ID: "sha256:bbbbbbbbbbbbbbbb", RepoDigests: []string{"127.0.0.1:5000/y@" + sum}, Created: now.Unix(), Size: 1, SharedSize: 1, Containers: 2},
		{ID: "sha256:cccccccccccccccc", Created: now.Unix(), SharedSize: -1},
	}
	compare(t, "", ImageTable(false), Images(list, true, false, now), `REPOSITORY         TAG       IMAGE ID       CREATED                  SIZE
127.0.0.1:5000/x   1         aaaaaaaaaaaa   About an hour ago        4.45MB
busybox            latest    aaaaaaaaaaaa   About an hour ago        4.45MB
127.0.0.1:5000/y   <none>    bbbbbbbbbbbb   Less than a second ago   1B
<none>             <none>    cccccccccccc   Less than a second ago   0B
`)
	compare(t, "table {{.Repository}}\t{{.Tag}}\t{{.Digest}}\t{{.Containers}}\t{{.UniqueSize}}", ImageTable(true), Images(list, true, true, now), `REPOSITORY         TAG       DIGEST                                                                    CONTAINERS   UNIQUE SIZE
127.0.0.1:5000/x   1         <none>                                                                    N/A          N/A
busybox            latest    `+sum+`   N/A          N/A
127.0.0.1:5000/y   <none>    `+sum+`   2            0B
<none>             <none>    <none>                                                                    0            N/A
`)
}

func TestHistory(t *testing.T) {
	list := []image.HistoryResponseItem{
		{ID: "sha256:aaaaaaaaaaaaaaaa", Created: now.Add(-time.Hour).Unix(), CreatedBy: "/bin/sh -c echo\tone two three four five six seven eight nine", Size: 12345, Comment: "buildkit"},
		{ID: "<missing>", CreatedBy: "x"},
	}
	compare(t, "", HistoryTable(true), HistoryRows(list, true, true, now), `IMAGE          CREATED             CREATED BY                                      SIZE      COMMENT
aaaaaaaaaaaa   About an hour ago   /bin/sh -c echo one two three four five six …   12.3kB    buildkit
<missing>      N/A                 x                                               0B        
`)
}

func TestUsage(t *testing.T) {
	du := system.DiskUsage{
		ImageUsage:  &image.DiskUsage{TotalCount: 2, ActiveCount: 1, TotalSize: 12_240_000, Reclaimable: 7_798_000},
		VolumeUsage: &volume.DiskUsage{TotalCount: 1},
	}
	compare(t, "", UsageTable(), Usages(du), `TYPE            TOTAL     ACTIVE    SIZE      RECLAIMABLE
Images          2         1         12.24MB   7.798MB (63%)
Containers      0         0         0B        0B
Local Volumes   1         0         0B        0B
Build Cache     0         0         0B        0B
`)
}

func TestStats(t *testing.T) {
	s := container.StatsResponse{Name: "/web", ID: "0123456789abcdef"}
	s.CPUStats.CPUUsage.TotalUsage, s.PreCPUStats.CPUUsage.TotalUsage = 3_000, 1_000
	s.CPUStats.SystemUsage, s.PreCPUStats.SystemUsage, s.CPUStats.OnlineCPUs = 20_000, 10_000, 2
	s.MemoryStats.Usage, s.MemoryStats.Limit, s.MemoryStats.Stats = 3<<20, 64<<20, map[string]uint64{"total_inactive_file": 1 << 20}
	s.Networks = map[string]container.NetworkStats{"eth0": {RxBytes: 1500, TxBytes: 10}}
	s.BlkioStats.IoServiceBytesRecursive = []container.BlkioStatEntry{{Op: "Read", Value: 4096}, {Op: "write", Value: 1}, {Op: "", Value: 9}}
	s.PidsStats.Current = 3
	compare(t, "", StatsTable(), []Stats{StatsRow("web", s, true), NoStats("x", "y", "--")}, `CONTAINER ID   NAME      CPU %     MEM USAGE / LIMIT   MEM %     NET I/O       BLOCK I/O    PIDS
0123456789ab   web       40.00%    2MiB / 64MiB        3.12%     1.5kB / 10B   4.1kB / 1B   3
y              --        --        -- / --             --        --            --           --
`)
}

func TestPorts(t *testing.T) {
	v4, v6 := netip.MustParseAddr("0.0.0.0"), netip.MustParseAddr("::")
	list := []container.PortSummary{
		{PrivatePort: 443, Type: "tcp"}, {IP: v6, PrivatePort: 80, PublicPort: 80, Type: "tcp"}, {IP: v4, PrivatePort: 80, PublicPort: 80, Type: "tcp"},
		{IP: v4, PrivatePort: 81, PublicPort: 81, Type: "tcp"}, {PrivatePort: 53, Type: "udp"},
	}
	if got, want := Ports(list), "443/tcp, 0.0.0.0:80-81->80-81/tcp, [::]:80->80/tcp, 53/udp"; !sameParts(got, want) {
		t.Errorf("got %s\nwant %s", got, want)
	}
}

func sameParts(a, b string) bool {
	seen := map[string]int{}
	for _, s := range strings.Split(a, ", ") {
		seen[s]++
	}
	for _, s := range strings.Split(b, ", ") {
		seen[s]--
	}
	for _, n := range seen {
		if n != 0 {
			return false
		}
	}
	return true
}

func TestInspector(t *testing.T) {
	i, err := NewInspector(`{{.Name}} {{json .List}} {{.Raw.X}}`)
	if err != nil {
		t.Fatal(err)
	}
	typed := struct {
		Name string
		List []string
	}{"n", []string{"<a>"}}
	if err := i.Add(typed, []byte(`{"Name":"n","List":["<a>"],"Raw":{"X":12345678901234567890}}`)); err != nil {
		t.Fatal(err)
	}
	if err := i.Add(typed, []byte(`{"Name":"n"}`)); err == nil || !strings.Contains(err.Error(), `map has no entry for key "List"`) {
		t.Errorf("got %v", err)
	}
	var b bytes.Buffer
	if err := i.Flush(&b); err != nil || b.String() != "n [\"<a>\"] 12345678901234567890\n" {
		t.Errorf("got %q, %v", b.String(), err)
	}
}

func TestText(t *testing.T) {
	for _, c := range []struct {
		s     string
		width int
		want  string
	}{{"short", 20, "short"}, {"abcdef", 4, "abc…"}, {"日本語です", 5, "日本…"}, {"", 3, ""}} {
		if got := Ellipsis(c.s, c.width); got != c.want {
			t.Errorf("%q to %d: got %q", c.s, c.width, got)
		}
	}
	if ShortID("sha256:0123456789abcdef") != "0123456789ab" || ShortID("x") != "x" {
		t.Error("ShortID")
	}
}

// countingWriter counts how often it is written to.
type countingWriter struct{ writes int }

func (c *countingWriter) Write(p []byte) (int, error) {
	c.writes++
	return len(p), nil
}

// TestWritesAreFew: a table reaches a pipe in large parts, not a cell at a time.
func TestWritesAreFew(t *testing.T) {
	type row struct{ Name, Value string }
	rows := make([]row, 500)
	for i := range rows {
		rows[i] = row{fmt.Sprint("name", i), "value"}
	}
	table := Table{Fields: []string{"Name", "Value"}, Headers: map[string]string{"Name": "NAME", "Value": "VALUE"}}
	for _, layout := range []string{"", "json", "{{.Name}}", "table {{.Name}}\t{{.Value}}"} {
		var w countingWriter
		if err := Write(&w, layout, table, rows); err != nil || w.writes == 0 || w.writes > 3 {
			t.Errorf("%q: %d writes, %v", layout, w.writes, err)
		}
	}
	var w countingWriter
	if err := Lines(&w, "Name", rows); err != nil || w.writes != 1 {
		t.Errorf("lines: %d writes, %v", w.writes, err)
	}
}
