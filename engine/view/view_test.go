package view

import (
	"context"
	"net/netip"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	ct "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	nt "github.com/moby/moby/api/types/network"

	"github.com/cove-containers/cove/api"
	"github.com/cove-containers/cove/container"
	"github.com/cove-containers/cove/runtime"
	"github.com/cove-containers/cove/state"
)

func given(pairs ...string) api.Filters {
	f := api.Filters{}
	for _, p := range pairs {
		name, value, _ := strings.Cut(p, "=")
		f.Add(name, value)
	}
	return f
}

// viewOf makes a view of a store with these containers, the first the oldest.
func viewOf(t *testing.T, all ...*container.Container) *View {
	t.Helper()
	db, err := state.Open(filepath.Join(t.TempDir(), "cove.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	store, err := container.Open(db)
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range all {
		c.Created = time.Unix(int64(1000+i), 0)
		if _, err := store.Reserve(c.ID, c.Name); err != nil {
			t.Fatal(err)
		}
		if err := store.Create(c); err != nil {
			t.Fatal(err)
		}
	}
	return New(Parts{Containers: store})
}

func one(id, name string, status ct.ContainerState, change func(*container.Container)) *container.Container {
	c := &container.Container{ID: id, Name: name, Config: &ct.Config{}, HostConfig: &ct.HostConfig{NetworkMode: "bridge"}, State: container.State{Status: status}}
	if status != ct.StateCreated {
		c.State.StartedAt = time.Unix(2000, 0)
	}
	if change != nil {
		change(c)
	}
	return c
}

func TestListFilters(t *testing.T) {
	v := viewOf(t,
		one("aaaa1", "old", ct.StateExited, func(c *container.Container) { c.State.ExitCode = 3 }),
		one("bbbb2", "web", ct.StateRunning, func(c *container.Container) {
			c.Config.Labels = map[string]string{"a": "1", "b": "2"}
			c.Ports = nt.PortMap{nt.MustParsePort("80/tcp"): {{HostIP: netip.MustParseAddr("0.0.0.0"), HostPort: "8080"}}, nt.MustParsePort("53/udp"): nil}
			c.Mounts = []container.Mount{{Type: mount.TypeVolume, Name: "data", Target: "/data"}, {Type: mount.TypeBind, Source: "/srv", Target: "/srv2"}}
			c.State.Health = &ct.Health{Status: ct.Healthy}
			c.Networks = map[string]*nt.EndpointSettings{"bridge": {NetworkID: "cafe"}}
		}),
		one("bbcc3", "web-2", ct.StatePaused, func(c *container.Container) { c.Config.Labels = map[string]string{"a": "2"} }),
		one("dddd4", "fresh", ct.StateCreated, nil),
		one("eeee5", "again", ct.StateRestarting, func(c *container.Container) { c.State.ExitCode = 3 }),
	)
	for _, tc := range []struct {
		all     bool
		limit   int
		filters string
		want    string
	}{
		{false, 0, "", "again web-2 web"},
		{true, 0, "", "again fresh web-2 web old"},
		{false, 2, "", "again fresh"},
		{false, 0, "status=exited", "old"},
		{false, 0, "status=exited status=running", "web old"},
		{true, 0, "exited=3", "old"},
		{true, 0, "exited=0", ""},
		{true, 0, "health=healthy", "web"},
		{true, 0, "health=none label=a", "web-2"},
		{true, 0, "label=a", "web-2 web"},
		{true, 0, "label=a=1 label=b", "web"},
		{true, 0, "name=web", "web-2 web"},
		{true, 0, "name=^web$", "web"},
		{true, 0, "name=^/web$", "web"},
		{true, 0, "id=bb", "web-2 web"},
		{true, 0, "id=bbbb2", "web"},
		{true, 0, "before=web-2", "web old"},
		{true, 0, "since=web-2", "again fresh"},
		{true, 0, "since=old before=again", "fresh web-2 web"},
		{true, 0, "volume=data", "web"},
		{true, 0, "volume=/srv2", "web"},
		{true, 0, "volume=/srv", "web"},
		{true, 0, "volume=srv", ""},
		{true, 0, "publish=8080", "web"},
		{true, 0, "publish=8000-9000/tcp", "web"},
		{true, 0, "publish=80", ""},
		{true, 0, "expose=80", "web"},
		{true, 0, "expose=53/udp", "web"},
		{true, 0, "expose=53", ""},
		{true, 0, "is-task=true", ""},
		{true, 0, "is-task=false isolation=default name=web$", "web"},
	} {
		o := ListOptions{All: tc.all, Limit: tc.limit, Filters: given(strings.Fields(tc.filters)...)}
		p, err := v.compile(context.Background(), o)
		if err != nil {
			t.Errorf("%s: %v", tc.filters, err)
			continue
		}
		var got []string
		for _, c := range v.parts.Containers.List() {
			if (tc.limit == 0 || len(got) < tc.limit) && p.lets(c) && p.letsPorts(portSummaries(c)) {
				got = append(got, c.Name)
			}
		}
		if strings.Join(got, " ") != tc.want {
			t.Errorf("all=%v limit=%d %s: %v, want %s", tc.all, tc.limit, tc.filters, got, tc.want)
		}
	}
	for filters, kind := range map[string]func(error) bool{
		"foo=1": errdefs.IsInvalidArgument, "status=foo": errdefs.IsInvalidArgument, "health=foo": errdefs.IsInvalidArgument,
		"exited=x": errdefs.IsInvalidArgument, "is-task=maybe": errdefs.IsInvalidArgument, "publish=a-b": errdefs.IsInvalidArgument,
		"before=nosuch": errdefs.IsNotFound, "since=nosuch": errdefs.IsNotFound,
	} {
		if _, err := v.compile(context.Background(), ListOptions{Filters: given(filters)}); !kind(err) {
			t.Errorf("%s: %v", filters, err)
		}
	}
}

func TestSummary(t *testing.T) {
	v := viewOf(t)
	c := one("abc", "web", ct.StateCreated, func(c *container.Container) {
		c.Path, c.Args = "sh", []string{"-c", "echo a b"}
		c.Ports = nt.PortMap{
			nt.MustParsePort("80/tcp"):  {{HostIP: netip.MustParseAddr("0.0.0.0"), HostPort: "8080"}, {HostIP: netip.MustParseAddr("127.0.0.1"), HostPort: "81"}},
			nt.MustParsePort("53/udp"):  {{HostIP: netip.MustParseAddr("0.0.0.0"), HostPort: "53"}},
			nt.MustParsePort("100/tcp"): nil,
		}
	})
	s := v.summary(c, "img")
	if s.Command != "sh -c 'echo a b'" || s.Names[0] != "/web" || s.Labels == nil || s.Status != "Created" || s.Health.Status != ct.NoHealthcheck {
		t.Errorf("%+v", s)
	}
	want := []ct.PortSummary{
		{IP: netip.MustParseAddr("0.0.0.0"), PrivatePort: 53, PublicPort: 53, Type: "udp"},
		{IP: netip.MustParseAddr("0.0.0.0"), PrivatePort: 80, PublicPort: 8080, Type: "tcp"},
		{IP: netip.MustParseAddr("127.0.0.1"), PrivatePort: 80, PublicPort: 81, Type: "tcp"},
		{PrivatePort: 100, Type: "tcp"},
	}
	if !reflect.DeepEqual(s.Ports, want) {
		t.Errorf("ports: %+v", s.Ports)
	}
	if e := s.NetworkSettings.Networks; len(e) != 1 || e["bridge"] == nil {
		t.Errorf("networks: %+v", e)
	}
	c.HostConfig.NetworkMode = "container:x"
	if e := v.endpoints(c); len(e) != 0 {
		t.Errorf("networks of a container in another's: %+v", e)
	}
}

func TestParsePs(t *testing.T) {
	output := "UID   PID  PPID CMD\nroot    1     0 /sbin/init splash\nme     42     1 sh -c  a b\nme      -     - -\nroot   43     1 other\nroot    -     - -\nme     44    42 [x]\n"
	got, err := parsePs([]byte(output), []int{42, 44})
	want := ct.TopResponse{
		Titles:    []string{"UID", "PID", "PPID", "CMD"},
		Processes: [][]string{{"me", "42", "1", "sh -c a b"}, {"me", "-", "-", "-"}, {"me", "44", "42", "[x]"}},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v %v", got, err)
	}
	for text, message := range map[string]string{
		"COMMAND\nsleep\n": "Couldn't find PID field in ps output", "": "Couldn't find PID field in ps output",
		"PID CMD\nx y\n": "unexpected pid 'x'", "CMD PID\na\n": "unexpected line",
	} {
		if _, err := parsePs([]byte(text), nil); err == nil || !strings.Contains(err.Error(), message) {
			t.Errorf("%q: %v", text, err)
		}
	}
	for args, fine := range map[string]bool{"-ef": true, "-o pid,comm": true, "-o ppid=PID": false, "-o pid=PID": true, "-o pid=PID2": true, "aux -o uid=PIDX": false} {
		if err := checkPs(args); (err == nil) != fine {
			t.Errorf("%s: %v", args, err)
		}
	}
}

func FuzzParsePs(f *testing.F) {
	f.Add("UID   PID  PPID CMD\nroot    1     0 /sbin/init splash\n")
	f.Add("PID\n-\n1\n")
	f.Fuzz(func(t *testing.T, output string) {
		top, err := parsePs([]byte(output), []int{1, 2})
		if err != nil {
			return
		}
		for _, p := range top.Processes {
			if len(p) > len(top.Titles) {
				t.Errorf("%q: %v", output, top)
			}
		}
	})
}

func TestStatsFigures(t *testing.T) {
	nanos, cpus := parseMachineTime("cpu  1 2 3 4 5 6 7 8 9 10\ncpu0 1 1 1 1\ncpu1 1 1 1 1\nintr 5\n")
	if nanos != 28*10_000_000 || cpus != 2 {
		t.Errorf("machine: %d %d", nanos, cpus)
	}
	table := `Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:       9       9    0    0    0     0          0         0        9       9    0    0    0     0       0          0
  eth0:     736       8    1    2    0     0          0         0      100       5    3    4    0     0       0          0
`
	want := map[string]ct.NetworkStats{"eth0": {RxBytes: 736, RxPackets: 8, RxErrors: 1, RxDropped: 2, TxBytes: 100, TxPackets: 5, TxErrors: 3, TxDropped: 4}}
	if got := devices(table); !reflect.DeepEqual(got, want) {
		t.Errorf("devices: %+v", got)
	}
	var f runtime.Stats
	f.Memory.Usage, f.CPU.Total, f.Pids.Current = 5, 7, 2
	s := statsOf(f)
	if s.MemoryStats.Usage != 5 || s.CPUStats.CPUUsage.TotalUsage != 7 || s.PidsStats.Current != 2 || s.BlkioStats.SectorsRecursive == nil {
		t.Errorf("%+v", s)
	}
	f.Unified = true
	if s = statsOf(f); s.BlkioStats.SectorsRecursive != nil || s.BlkioStats.IoServiceBytesRecursive == nil {
		t.Errorf("unified: %+v", s.BlkioStats)
	}
}

func TestStatsOfWhatDoesNotRun(t *testing.T) {
	v := viewOf(t, one("aaaa1", "old", ct.StateExited, nil))
	var got []ct.StatsResponse
	emit := func(s ct.StatsResponse) error { got = append(got, s); return nil }
	if err := v.ContainerStats(context.Background(), "old", false, false, emit); err != nil || len(got) != 1 || got[0].Name != "/old" || !got[0].Read.IsZero() {
		t.Errorf("%+v %v", got, err)
	}
	if err := v.ContainerStats(context.Background(), "nosuch", false, false, emit); !errdefs.IsNotFound(err) {
		t.Error(err)
	}
	if _, err := v.ContainerTop(context.Background(), "old", ""); !errdefs.IsConflict(err) || !strings.Contains(err.Error(), "is not running") {
		t.Error(err)
	}
}

// TestStatsOfWhatIsRemoved: whoever waits for figures of a container that is removed meanwhile gets an answer, without figures.
func TestStatsOfWhatIsRemoved(t *testing.T) {
	t.Parallel()
	v := viewOf(t, one("aaaa1", "soon", ct.StateRunning, nil))
	v.parts.CgroupPath = func(c *container.Container) string {
		if err := v.parts.Containers.Delete(c.ID); err != nil {
			t.Error(err)
		}
		return "/no-such-group"
	}
	var got []ct.StatsResponse
	emit := func(s ct.StatsResponse) error { got = append(got, s); return nil }
	if err := v.ContainerStats(t.Context(), "soon", false, false, emit); err != nil || len(got) != 1 || got[0].Name != "/soon" || !got[0].Read.IsZero() {
		t.Errorf("%+v %v", got, err)
	}
}

func FuzzDevices(f *testing.F) {
	f.Add("  eth0:     736       8    1    2    0     0          0         0      100       5    3    4    0     0       0          0\n")
	f.Fuzz(func(t *testing.T, table string) { devices(table) })
}

func TestOSRelease(t *testing.T) {
	got := osRelease("# c\nNAME=\"Debian GNU/Linux\"\nVERSION_ID='12'\nID=debian\nbad\n")
	if got["NAME"] != "Debian GNU/Linux" || got["VERSION_ID"] != "12" || got["ID"] != "debian" || len(got) != 3 {
		t.Errorf("%v", got)
	}
	if h := readHost(); h.memory == 0 || h.cgroupVersion == "" || h.system == "" {
		t.Errorf("%+v", h)
	}
	if fileSystemOf("/proc/self") != "proc" {
		t.Errorf("file system of /proc: %s", fileSystemOf("/proc/self"))
	}
}

func TestProxyHidesPasswords(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://me:secret@proxy:3128")
	if got := proxy("HTTP_PROXY"); got != "http://xxxxx:xxxxx@proxy:3128" {
		t.Error(got)
	}
}
