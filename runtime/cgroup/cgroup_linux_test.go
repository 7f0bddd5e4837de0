package cgroup

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// fakeUnified is a folder tree that looks like the unified hierarchy, with the group at path already there: what a
// kernel puts into a new folder, a plain file system does not.
func fakeUnified(t *testing.T, path string, files map[string]string) (host, string) {
	t.Helper()
	root := t.TempDir()
	for dir := path; ; dir = filepath.Dir(dir) {
		put(t, root+dir, map[string]string{"cgroup.controllers": "cpu io memory pids", "cgroup.subtree_control": "cpu"})
		if dir == "/" {
			break
		}
	}
	put(t, root+path, files)
	return host{unified: true, hierarchies: []hierarchy{{mount: root}}}, root + path
}

func put(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func content(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func p[T any](v T) *T { return &v }

// limits sets something of everything.
func limits() *specs.LinuxResources {
	device := specs.LinuxThrottleDevice{Rate: 1000}
	device.Major, device.Minor = 8, 16
	return &specs.LinuxResources{
		Memory:  &specs.LinuxMemory{Limit: p(int64(64 << 20)), Swap: p(int64(96 << 20)), Reservation: p(int64(32 << 20))},
		CPU:     &specs.LinuxCPU{Shares: p(uint64(1024)), Quota: p(int64(50000)), Period: p(uint64(100000)), Cpus: "0", Mems: "0"},
		Pids:    &specs.LinuxPids{Limit: p(int64(42))},
		BlockIO: &specs.LinuxBlockIO{Weight: p(uint16(500)), ThrottleReadBpsDevice: []specs.LinuxThrottleDevice{device}},
	}
}

func TestUnifiedLimits(t *testing.T) {
	names := []string{
		"memory.max", "memory.swap.max", "memory.low", "cpu.weight", "cpu.max", "cpuset.cpus", "cpuset.mems", "pids.max", "io.weight", "io.max", "hugetlb.2MB.max", "memory.high",
	}
	files := map[string]string{}
	for _, n := range names {
		files[n] = ""
	}
	h, dir := fakeUnified(t, "/a/b", files)
	r := limits()
	r.HugepageLimits = []specs.LinuxHugepageLimit{{Pagesize: "2MB", Limit: 4096}}
	r.Unified = map[string]string{"memory.high": "1000"}
	c, err := create(h, "/a/b", r)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"memory.max": "67108864", "memory.swap.max": "33554432", "memory.low": "33554432", "cpu.weight": "100", "cpu.max": "50000 100000",
		"cpuset.cpus": "0", "cpuset.mems": "0", "pids.max": "42", "io.weight": "4950", "io.max": "8:16 rbps=1000", "hugetlb.2MB.max": "4096", "memory.high": "1000",
	}
	for _, n := range names {
		if got := content(t, filepath.Join(dir, n)); got != want[n] {
			t.Errorf("%s is %q, want %q", n, got, want[n])
		}
	}
	root := h.hierarchies[0].mount
	for _, d := range []string{root, root + "/a"} {
		if got := content(t, d+"/cgroup.subtree_control"); got != "+io +memory +pids" {
			t.Errorf("%s gives %q", d, got)
		}
	}
	// An update leaves alone what it does not name; no limit is "max".
	err = c.Update(&specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: p(int64(-1)), Swap: p(int64(-1))}, Pids: &specs.LinuxPids{Limit: p(int64(-1))}})
	if err != nil {
		t.Fatal(err)
	}
	for n, want := range map[string]string{"memory.max": "max", "memory.swap.max": "max", "pids.max": "max", "cpu.max": "50000 100000"} {
		if got := content(t, filepath.Join(dir, n)); got != want {
			t.Errorf("after update %s is %q, want %q", n, got, want)
		}
	}
	// cpu.max holds two numbers, of which an update may give one.
	for _, change := range []struct {
		cpu  specs.LinuxCPU
		want string
	}{
		{specs.LinuxCPU{Period: p(uint64(200000))}, "50000 200000"},
		{specs.LinuxCPU{Quota: p(int64(70000))}, "70000 200000"},
		{specs.LinuxCPU{Shares: p(uint64(2048))}, "70000 200000"},
		{specs.LinuxCPU{Quota: p(int64(-1))}, "max 200000"},
		{specs.LinuxCPU{Period: p(uint64(20000))}, "max 20000"},
		{specs.LinuxCPU{Quota: p(int64(10000)), Period: p(uint64(50000))}, "10000 50000"},
	} {
		if err := c.Update(&specs.LinuxResources{CPU: &change.cpu}); err != nil {
			t.Fatal(err)
		}
		if got := content(t, filepath.Join(dir, "cpu.max")); got != change.want {
			t.Errorf("cpu.max is %q, want %q", got, change.want)
		}
	}
	if err := c.Update(&specs.LinuxResources{Memory: &specs.LinuxMemory{Swap: p(int64(5))}}); err == nil {
		t.Error("a swap limit without a memory limit is accepted")
	}
	if err := c.Update(&specs.LinuxResources{Unified: map[string]string{"../x": "1"}}); err == nil {
		t.Error("a path as a file name is accepted")
	}
	if err := c.Update(&specs.LinuxResources{CPU: &specs.LinuxCPU{Burst: p(uint64(1))}}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file the kernel lacks: %v", err)
	}
}

func TestUnifiedCounters(t *testing.T) {
	h, _ := fakeUnified(t, "/x", map[string]string{
		"cgroup.procs": "7\n9\n", "cpu.stat": "usage_usec 30\nuser_usec 20\nsystem_usec 10\nnr_periods 3\nnr_throttled 2\nthrottled_usec 5\n",
		"memory.current": "1000\n", "memory.peak": "2000\n", "memory.max": "4096\n", "memory.stat": "anon 7\nfile 8\n",
		"memory.events": "low 0\nmax 6\noom 2\noom_kill 1\n", "pids.current": "4\n", "pids.max": "max\n",
		"io.stat": "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n",
	})
	c := &Cgroup{host: h, path: "/x"}
	s, err := c.Stats()
	want := Stats{
		Unified: true,
		CPU:     CPUStats{Total: 30000, User: 20000, Kernel: 10000, Periods: 3, ThrottledPeriods: 2, ThrottledNanos: 5000},
		Memory:  MemoryStats{Usage: 1000, MaxUsage: 2000, Limit: 4096, FailCount: 6, Detail: map[string]uint64{"anon": 7, "file": 8}},
		Pids:    PidsStats{Current: 4},
		BlockIO: BlockIOStats{
			Bytes:      []BlockEntry{{8, 0, "read", 1}, {8, 0, "write", 2}},
			Operations: []BlockEntry{{8, 0, "read", 3}, {8, 0, "write", 4}},
		},
	}
	if err != nil || !reflect.DeepEqual(s, want) {
		t.Errorf("got %+v, %v\nwant %+v", s, err, want)
	}
	if n, err := c.OOMKills(); n != 1 || err != nil {
		t.Errorf("%d kills, %v", n, err)
	}
	if pids, err := c.Pids(); !slices.Equal(pids, []int{7, 9}) || err != nil {
		t.Errorf("pids %v, %v", pids, err)
	}
	if _, err := (&Cgroup{host: h, path: "/absent"}).Stats(); !errors.Is(err, errdefs.ErrNotFound) {
		t.Errorf("an absent group: %v", err)
	}
}

func TestWeights(t *testing.T) {
	for shares, want := range map[uint64]uint64{0: 1, 2: 1, 1024: 100, 512: 59, 2048: 174, 262144: 10000, 1 << 40: 10000} {
		if got := cpuWeight(shares); got+3 < want || got > want+3 || (shares == 1024 && got != 100) {
			t.Errorf("%d shares weigh %d, want about %d", shares, got, want)
		}
	}
}

func TestReadHost(t *testing.T) {
	hybrid := `30 23 0:26 / /sys/fs/cgroup ro - tmpfs tmpfs ro
31 30 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
32 30 0:28 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
33 30 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:3 - cgroup cgroup rw,cpu,cpuacct
34 30 0:30 /docker/x /elsewhere rw - cgroup cgroup rw,memory
35 30 0:29 / /again rw - cgroup cgroup rw,cpu,cpuacct
`
	h, err := readHost(strings.NewReader(hybrid))
	want := host{hierarchies: []hierarchy{
		{"systemd", []string{"name=systemd"}, "/sys/fs/cgroup/systemd"}, {"cpu,cpuacct", []string{"cpu", "cpuacct"}, "/sys/fs/cgroup/cpu,cpuacct"},
	}}
	if err != nil || !reflect.DeepEqual(h, want) {
		t.Errorf("got %+v, %v", h, err)
	}
	h, err = readHost(strings.NewReader("31 30 0:27 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"))
	if err != nil || !h.unified {
		t.Errorf("got %+v, %v", h, err)
	}
	if _, err := readHost(strings.NewReader("")); !errors.Is(err, errdefs.ErrNotImplemented) {
		t.Errorf("no cgroups: %v", err)
	}
}

func FuzzReadHost(f *testing.F) {
	f.Add("31 30 0:27 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n")
	f.Fuzz(func(t *testing.T, text string) {
		h, err := readHost(strings.NewReader(text))
		if err == nil && len(h.hierarchies) == 0 {
			t.Error("no hierarchies and no error")
		}
	})
}

func FuzzCounters(f *testing.F) {
	f.Add("8:0 Read 1\n", "8:0 rbytes=1\n", "a 1\n")
	f.Fuzz(func(t *testing.T, old, unified, table string) {
		parseBlockOld(old)
		parseBlockUnified(unified)
		parseTable(table)
	})
}

// real makes a group on this host, or skips.
func real(t *testing.T, h host, r *specs.LinuxResources) *Cgroup {
	t.Helper()
	c, err := create(h, fmt.Sprintf("/cove-test-%d-%s", os.Getpid(), t.Name()), r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(c.KillAll(), c.Remove()); err != nil {
			t.Error(err)
		}
	})
	return c
}

func needRoot(t *testing.T) host {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: makes cgroups")
	}
	h, err := thisHost()
	if err != nil {
		t.Skipf("needs cgroups: %v", err)
	}
	return h
}

// sleeper starts a process in a group.
func sleeper(t *testing.T, c *Cgroup, script string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("sh", "-c", "read x; "+script)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	for _, h := range c.host.hierarchies {
		if err := write(h.mount+c.path, "cgroup.procs", fmt.Sprint(cmd.Process.Pid)); err != nil {
			t.Fatal(err)
		}
	}
	fmt.Fprintln(in)
	return cmd
}

func TestLimitsOnThisHost(t *testing.T) {
	h := needRoot(t)
	if h.unified {
		t.Skip("the host has the unified hierarchy")
	}
	r := limits()
	r.BlockIO = nil
	c := real(t, h, r)
	for _, w := range []struct{ controller, file, want string }{
		{"memory", "memory.limit_in_bytes", "67108864"}, {"memory", "memory.soft_limit_in_bytes", "33554432"},
		{"cpu", "cpu.shares", "1024"}, {"cpu", "cpu.cfs_quota_us", "50000"}, {"cpuset", "cpuset.cpus", "0"}, {"pids", "pids.max", "42"},
	} {
		if dir := c.dir(w.controller); dir != "" {
			if got, err := read(dir, w.file); got != w.want || err != nil {
				t.Errorf("%s is %q, %v, want %s", w.file, got, err, w.want)
			}
		}
	}
	// Up and down again: memory may never exceed memory and swap together.
	for _, size := range []int64{256 << 20, 16 << 20, -1} {
		m := &specs.LinuxMemory{Limit: p(size), Swap: p(max(-1, 2*size))}
		if err := c.Update(&specs.LinuxResources{Memory: m}); err != nil {
			t.Errorf("limit %d: %v", size, err)
		}
	}
	s, err := c.Stats()
	if err != nil || s.Memory.Limit != machineMemory() || s.Pids.Limit != 42 {
		t.Errorf("got %+v, %v", s, err)
	}
	if _, err := Open(c.Path()); err != nil {
		t.Error(err)
	}
	if _, err := Open("/cove-test-absent"); !errors.Is(err, errdefs.ErrNotFound) {
		t.Errorf("an absent group: %v", err)
	}
}

func TestFreezeAndKill(t *testing.T) {
	h := needRoot(t)
	c := real(t, h, nil)
	sleeper(t, c, "sleep 100 & sleep 100 & wait")
	if _, err := create(h, c.Path(), nil); !errors.Is(err, errdefs.ErrAlreadyExists) {
		t.Errorf("a group in use: %v", err)
	}
	if err := c.Freeze(); err != nil {
		t.Fatal(err)
	}
	if frozen, err := c.Frozen(); !frozen || err != nil {
		t.Errorf("frozen: %v, %v", frozen, err)
	}
	// A group below, as an init system inside makes them; frozen processes die, too.
	for _, h := range h.hierarchies {
		if err := makeOld(h, c.path+"/below"); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.KillAll(); err != nil {
		t.Fatal(err)
	}
	if err := c.Remove(); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(c.KillAll(), c.Remove()); err != nil {
		t.Errorf("a group that is gone: %v", err)
	}
}

// TestUnifiedOnThisHost uses the hierarchy that hosts with the older controllers often have beside them.
func TestUnifiedOnThisHost(t *testing.T) {
	needRoot(t)
	const mount = "/sys/fs/cgroup/unified"
	if _, err := os.Stat(mount + "/cgroup.controllers"); err != nil {
		t.Skipf("needs a unified hierarchy: %v", err)
	}
	h := host{unified: true, hierarchies: []hierarchy{{mount: mount}}}
	rules := func(access string) []specs.LinuxDeviceCgroup {
		return []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}, {Allow: true, Type: "c", Major: p(int64(1)), Minor: p(int64(5)), Access: access}}
	}
	c := real(t, h, &specs.LinuxResources{Devices: rules("r")})
	try := func(script string) error {
		cmd := sleeper(t, c, script)
		return cmd.Wait()
	}
	if err := try("head -c 1 /dev/zero | wc -c"); err != nil {
		t.Errorf("read of an allowed device: %v", err)
	}
	for _, script := range []string{": </dev/full", ": >/dev/zero"} {
		if try(script) == nil {
			t.Errorf("%s is allowed", script)
		}
	}
	if err := c.Update(&specs.LinuxResources{Devices: rules("rw")}); err != nil {
		t.Fatal(err)
	}
	if err := try(": >/dev/zero"); err != nil {
		t.Errorf("write after the update: %v", err)
	}
	if try(": </dev/full") == nil {
		t.Error("the update allows another device")
	}
	first := sleeper(t, c, "sleep 100")
	if e, err := c.Entry(); err != nil || e.Dir == nil || len(e.Tasks) != 0 {
		t.Errorf("entry %+v, %v", e, err)
	} else {
		e.Close()
	}
	if e, err := c.EntryBeside(first.Process.Pid); err != nil || e.Dir.Name() != mount+c.path {
		t.Errorf("entry beside %+v, %v", e, err)
	} else {
		e.Close()
	}
	if err := c.Freeze(); err != nil {
		t.Fatal(err)
	}
	if err := c.KillAll(); err != nil {
		t.Fatal(err)
	}
}

// TestEntryBesideAnInitSystem: the container's processes have moved below its group.
func TestEntryBesideAnInitSystem(t *testing.T) {
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Skip(err)
	}
	_, own, found := strings.Cut(string(text), "0::")
	if !found || strings.TrimSpace(own) == "/" {
		own = "/"
	}
	own = strings.TrimSpace(own)
	h, dir := fakeUnified(t, filepath.Join(own, "x"), map[string]string{"cgroup.procs": ""})
	put(t, filepath.Dir(dir), map[string]string{"cgroup.procs": ""})
	c := &Cgroup{host: h, path: own}
	if own == "/" {
		c.path = ""
	}
	e, err := c.EntryBeside(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if e.Dir == nil || filepath.Clean(e.Dir.Name()) != filepath.Clean(h.hierarchies[0].mount+own) {
		t.Errorf("got %v", e.Dir)
	}
}

// TestEntryOfAGroupThatIsGone: an init system has moved the container's processes, and removed the group they came from.
func TestEntryOfAGroupThatIsGone(t *testing.T) {
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.SplitN(strings.Split(string(text), "\n")[0], ":", 3)
	if len(parts) < 3 || parts[1] == "" {
		t.Skip("needs a hierarchy of version 1")
	}
	there, gone := t.TempDir(), t.TempDir()
	put(t, there+"/own", map[string]string{"tasks": ""})
	put(t, filepath.Join(gone, parts[2]), map[string]string{"tasks": ""})
	c := &Cgroup{path: "/own", host: host{hierarchies: []hierarchy{
		{name: "there", controllers: []string{"there"}, mount: there}, {name: "gone", controllers: strings.Split(parts[1], ","), mount: gone},
	}}}
	e, err := c.EntryBeside(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if e.Tasks[0].Name() != there+"/own/tasks" || filepath.Clean(e.Tasks[1].Name()) != filepath.Join(gone, parts[2], "tasks") {
		t.Errorf("entered %s and %s", e.Tasks[0].Name(), e.Tasks[1].Name())
	}
	if _, err := c.Entry(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the first process enters where no group is: %v", err)
	}
}
