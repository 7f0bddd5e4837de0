package runtime

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cove-containers/cove/runtime/cgroup"
)

// inventory is what this process owns on the host.
type inventory struct {
	Descriptors, Children, Mounts int
	Namespaces, Cgroups           []string
}

// takeStock counts descriptors, child processes, mounts of this namespace, namespaces of this process's threads, and
// cgroups with this process's mark.
func takeStock(t *testing.T) inventory {
	t.Helper()
	var i inventory
	list := func(pattern string) []string {
		names, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		return names
	}
	i.Descriptors = len(list("/proc/self/fd/*"))
	seen := map[string]bool{}
	for _, task := range list("/proc/self/task/*") {
		children, _ := os.ReadFile(task + "/children")
		i.Children += len(strings.Fields(string(children)))
		for _, ns := range list(task + "/ns/*") {
			name, err := os.Readlink(ns)
			if err == nil && !seen[name] {
				seen[name] = true
				i.Namespaces = append(i.Namespaces, name)
			}
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	own := filepath.Dir(t.TempDir())
	for line := range strings.Lines(string(mounts)) {
		// Other tests have theirs among temporary files, and name namespaces.
		at := strings.Fields(line)[4]
		if strings.Contains(line, own) || !strings.HasPrefix(at, os.TempDir()+"/") && !strings.HasPrefix(at, "/run/netns") {
			i.Mounts++
		}
	}
	h, err := cgroup.Create(fmt.Sprintf("/cove-test-%d-probe", os.Getpid()), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	hierarchies := h.Hierarchies()
	if err := h.Remove(); err != nil {
		t.Fatal(err)
	}
	for _, h := range hierarchies {
		i.Cgroups = append(i.Cgroups, list(fmt.Sprintf("%s/cove-test-%d-*", h.Mount, os.Getpid()))...)
	}
	return i
}

// leftover tells what there is more than before, giving threads and namespaces a second to go.
func leftover(t *testing.T, before inventory) string {
	t.Helper()
	for tries := 0; ; tries++ {
		after := takeStock(t)
		more := ""
		for _, n := range []struct {
			what          string
			before, after int
		}{
			{"descriptors", before.Descriptors, after.Descriptors}, {"children", before.Children, after.Children},
			{"mounts", before.Mounts, after.Mounts}, {"namespaces", len(before.Namespaces), len(after.Namespaces)},
			{"cgroups", len(before.Cgroups), len(after.Cgroups)},
		} {
			if n.after > n.before {
				more += fmt.Sprintf(" %s: %d, then %d;", n.what, n.before, n.after)
			}
		}
		if more == "" || tries > 100 {
			return more
		}
		time.Sleep(10 * time.Millisecond)
	}
}

var errInjected = errors.New("injected failure")

// failAt makes the n-th step fail.
func failAt(n int, name *string) func(string) error {
	return func(step string) error {
		if n--; n == 0 {
			*name = step
			return errInjected
		}
		return nil
	}
}

// TestCreateLeavesNothing fails each step of a container's creation in turn.
func TestCreateLeavesNothing(t *testing.T) {
	busybox(t) // here, where a missing image may skip the test
	users := usersToJoin(t)
	cfgs := map[string]func() (Config, IO){
		"plain":    func() (Config, IO) { return sh(t, "true"), IO{} },
		"terminal": func() (Config, IO) { return sh(t, "true"), IO{Terminal: true} },
		"init":     func() (Config, IO) { c := sh(t, "true"); c.Init = true; return c, IO{} },
		"users":    func() (Config, IO) { c := sh(t, "true"); mapUsers(&c); chownUpper(t, &c); return c, IO{} },
		"joined": func() (Config, IO) {
			c := sh(t, "true")
			join(&c, pathOf(users))
			c.Overlay.Mapped = true
			return c, IO{}
		},
	}
	for name, make := range cfgs {
		t.Run(name, func(t *testing.T) {
			cfg, io := make()
			c, err := create(cfg, io, noInjection)
			if err != nil {
				t.Fatal(err)
			}
			destroy(t, c)
			if c.Console() != nil {
				c.Console().Close()
			}
			before := takeStock(t)
			for n := 1; ; n++ {
				step := ""
				cfg, io := make()
				c, err := create(cfg, io, failAt(n, &step))
				if err == nil {
					destroy(t, c)
					if c.Console() != nil {
						c.Console().Close()
					}
					if n < 20 {
						t.Errorf("only %d steps", n-1)
					}
					break
				}
				if !errors.Is(err, errInjected) {
					t.Fatalf("%s: %v", step, err)
				}
				if more := leftover(t, before); more != "" {
					t.Errorf("failing to %s leaves%s", step, more)
				}
			}
			if more := leftover(t, before); more != "" {
				t.Errorf("a whole life leaves%s", more)
			}
		})
	}
}

// TestBadDocumentsLeaveNothing fails in the kernel's hands rather than between steps, some of them in the child.
func TestBadDocumentsLeaveNothing(t *testing.T) {
	before := takeStock(t)
	for name, change := range map[string]func(*Config){
		"command":    func(c *Config) { c.Spec.Process.Args = []string{"nosuch"} },
		"user":       func(c *Config) { c.User = "nosuch" },
		"cwd":        func(c *Config) { c.Spec.Process.Cwd = "/etc/passwd" },
		"sysctl":     func(c *Config) { c.Spec.Linux.Sysctl = map[string]string{"no.such": "1"} },
		"lower":      func(c *Config) { c.Overlay.Lower = []string{"/nonexistent"} },
		"bind":       func(c *Config) { bind(c, "/nonexistent", "/x") },
		"file on":    func(c *Config) { bind(c, "/etc/passwd", "/bin") },
		"option":     func(c *Config) { c.Spec.Mounts[1].Options = []string{"nosuchoption=1"} },
		"filesystem": func(c *Config) { c.Spec.Mounts[1].Type = "nosuchfs" },
		"proc":       func(c *Config) { c.Spec.Mounts[0].Options = []string{"hidepid=nonsense"} },
		"limit":      func(c *Config) { c.Spec.Linux.Resources.Pids = &specs.LinuxPids{Limit: ptr(int64(1) << 62)} },
		"rlimit": func(c *Config) {
			c.Spec.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 2, Hard: 1}}
		},
		"namespace":  func(c *Config) { c.Spec.Linux.Namespaces[1].Path = "/nonexistent" },
		"wrong kind": func(c *Config) { c.Spec.Linux.Namespaces[1].Path = "/proc/self/ns/net" },
	} {
		cfg := sh(t, "true")
		change(&cfg)
		c, err := Create(cfg, IO{})
		if err == nil {
			destroy(t, c)
			t.Errorf("%s: no error", name)
		}
		if more := leftover(t, before); more != "" {
			t.Errorf("%s (%v) leaves%s", name, err, more)
		}
	}
}

func ptr[T any](v T) *T { return &v }

// bind adds a bind mount.
func bind(c *Config, source, target string, options ...string) {
	c.Spec.Mounts = append(c.Spec.Mounts, specs.Mount{Type: "bind", Source: source, Destination: target, Options: append([]string{"rbind"}, options...)})
}

// TestExecLeavesNothing fails each step of a further process in turn.
func TestExecLeavesNothing(t *testing.T) {
	c, err := Create(testConfig(t, busybox(t), "sleep", "100"), IO{})
	if err != nil {
		t.Fatal(err)
	}
	defer destroy(t, c)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	for _, io := range []IO{{}, {Terminal: true}} {
		process := specs.Process{Args: []string{"/bin/true"}, Cwd: "/"}
		before := takeStock(t)
		for n := 1; ; n++ {
			step := ""
			p, err := c.exec(process, "", nil, io, filter{}, failAt(n, &step))
			if err == nil {
				if err := p.Start(); err != nil {
					t.Error(err)
				}
				if status, err := p.Wait(); err != nil || status.Code != 0 {
					t.Errorf("got %+v, %v", status, err)
				}
				if p.Console() != nil {
					p.Console().Close()
				}
				break
			}
			if !errors.Is(err, errInjected) {
				t.Fatalf("%s: %v", step, err)
			}
			if more := leftover(t, before); more != "" {
				t.Errorf("failing to %s leaves%s", step, more)
			}
		}
		if more := leftover(t, before); more != "" {
			t.Errorf("a whole life leaves%s", more)
		}
	}
}

// TestManyAtOnce makes containers side by side, with processes started by other means in between.
func TestManyAtOnce(t *testing.T) {
	busybox(t) // here, where a missing image may skip the test
	before := takeStock(t)
	const workers, each = 8, 4
	errs := make(chan error, workers)
	for range workers {
		go func() {
			var all error
			for range each {
				all = errors.Join(all, runQuietly(t), exec.Command("true").Run())
			}
			errs <- all
		}()
	}
	for range workers {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if more := leftover(t, before); more != "" {
		t.Errorf("left%s", more)
	}
}

func runQuietly(t *testing.T) error {
	c, err := Create(testConfig(t, busybox(t), "true"), IO{})
	if err != nil {
		return err
	}
	err = c.Start()
	status, waitErr := c.Wait()
	if status.Code != 0 {
		err = errors.Join(err, fmt.Errorf("status %d", status.Code))
	}
	return errors.Join(err, waitErr, c.Destroy())
}
