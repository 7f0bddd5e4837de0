package main

import (
	"encoding/json"
	"errors"
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
