package main

import (
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cove-containers/cove/runtime"
)

func TestParseSignal(t *testing.T) {
	for name, want := range map[string]syscall.Signal{"9": 9, "KILL": 9, "SIGTERM": 15, "term": 15, "RTMIN+1": 35, "64": 64} {
		if got, err := parseSignal(name); got != want || err != nil {
			t.Errorf("%s: %d, %v", name, got, err)
		}
	}
	for _, name := range []string{"", "0", "65", "-1", "NOPE", "RTMIN+99"} {
		if _, err := parseSignal(name); !errors.Is(err, errdefs.ErrInvalidArgument) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// global returns the flags before the verb, with a state folder of the test's own.
func testGlobal(t *testing.T) *global {
	t.Helper()
	dir := t.TempDir()
	return &global{root: dir, bundles: runtime.OpenBundles(dir)}
}

func TestMissingContainer(t *testing.T) {
	g := testGlobal(t)
	for _, v := range verbs() {
		if !strings.HasPrefix(v.arguments, "ID") || slices.Contains([]string{"create", "run", "restore"}, v.name) {
			continue
		}
		args := []string{"absent"}
		if v.name == "exec" {
			args = append(args, "true")
		}
		if v.name == "update" {
			limits := filepath.Join(t.TempDir(), "limits")
			if err := os.WriteFile(limits, []byte("{}"), 0o644); err != nil {
				t.Fatal(err)
			}
			args = []string{"-r", limits, "absent"}
		}
		_, err := v.run(g, args)
		if !errors.Is(err, errdefs.ErrNotFound) || !strings.Contains(err.Error(), "does not exist") {
			t.Errorf("%s: %v", v.name, err)
		}
		if _, err := v.run(g, nil); err == nil {
			t.Errorf("%s without an ID is accepted", v.name)
		}
	}
}

func TestReport(t *testing.T) {
	g := testGlobal(t)
	for format, want := range map[string]string{"json": `"level":"error","msg":"went \"wrong\""`, "text": `level=error msg="went \"wrong\""`} {
		g.log, g.logFormat = filepath.Join(t.TempDir(), "log"), format
		g.report(errors.New(`went "wrong"`))
		if text, err := os.ReadFile(g.log); err != nil || !strings.Contains(string(text), want) {
			t.Errorf("%s: %q, %v", format, text, err)
		}
	}
}

func TestSpecIsWrittenOnce(t *testing.T) {
	g, dir := testGlobal(t), t.TempDir()
	if _, err := writeSpec(g, []string{"-b", dir}); err != nil {
		t.Fatal(err)
	}
	s, err := runtime.LoadBundle(dir)
	if err != nil || s.Version != specs.Version {
		t.Errorf("got %+v, %v", s, err)
	}
	if _, err := writeSpec(g, []string{"-b", dir}); !errors.Is(err, os.ErrExist) {
		t.Errorf("a second time: %v", err)
	}
}

func TestExecProcessFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "process.json")
	text, err := json.Marshal(specs.Process{Args: []string{"a", "b"}, Cwd: "/x"})
	if err == nil {
		err = os.WriteFile(file, text, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	var e execFlags
	flags := e.define()
	if err := parse(flags, []string{"--process", file, "-d", "-e", "A=1", "-e", "B=2", "id"}, 1); err != nil {
		t.Fatal(err)
	}
	p, err := e.describe(testGlobal(t), "id", nil)
	if err != nil || !slices.Equal(p.Args, []string{"a", "b"}) || p.Cwd != "/x" || !e.detach || len(e.env) != 2 {
		t.Errorf("got %+v, %v", p, err)
	}
}

// TestUpdateFlags: what runc takes for limits, and what is no limit.
func TestUpdateFlags(t *testing.T) {
	read := func(args ...string) (string, error) {
		flags := flag.NewFlagSet("update", flag.ContinueOnError)
		var r specs.LinuxResources
		limits(flags, &r)
		if err := parseAlone(flags, args); err != nil {
			return "", err
		}
		leaveZeros(&r)
		text, err := json.Marshal(r)
		return string(text), err
	}
	for _, c := range []struct{ args, want string }{
		{"id", `{}`},
		{"--memory 32m --memory-swap -1 --memory-reservation 1000000 id", `{"memory":{"limit":33554432,"reservation":1000000,"swap":-1}}`},
		{"--cpu-period 50000 id", `{"cpu":{"period":50000}}`},
		{"--cpu-quota -1 --cpu-share 512 --cpuset-cpus 0-1 --cpuset-mems 0 id", `{"cpu":{"shares":512,"quota":-1,"cpus":"0-1","mems":"0"}}`},
		{"--cpu-quota 0 --pids-limit 20 --blkio-weight 100 id", `{"cpu":{},"pids":{"limit":20},"blockIO":{"weight":100}}`},
	} {
		if got, err := read(strings.Fields(c.args)...); err != nil || got != c.want {
			t.Errorf("%s: %s, %v; want %s", c.args, got, err, c.want)
		}
	}
	for _, args := range []string{"", "--memory x id", "--cpu-period -1 id", "--blkio-weight 70000 id", "id --memory 1", "id id2"} {
		if got, err := read(strings.Fields(args)...); err == nil {
			t.Errorf("%q: %s", args, got)
		}
	}
}
