package runtime

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cove-containers/cove/runtime/cgroup"
)

// onUnifiedHost makes this process's mounts look like those of a host with the unified hierarchy alone.
func onUnifiedHost(t *testing.T) {
	t.Helper()
	const top, beside = "/sys/fs/cgroup", "/sys/fs/cgroup/unified"
	if _, err := os.Stat(top + "/cgroup.controllers"); err == nil {
		return
	}
	hold := t.TempDir()
	if err := syscall.Mount(beside, hold, "", syscall.MS_BIND, ""); err != nil {
		t.Skipf("needs a unified hierarchy: %v", err)
	}
	text, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range bytes.Split(text, []byte("\n")) {
		if f := strings.Fields(string(line)); len(f) > 2 && strings.HasPrefix(f[1], top+"/") {
			if err := syscall.Unmount(f[1], syscall.MNT_DETACH); err != nil {
				t.Fatal(err)
			}
		}
	}
	err = errors.Join(syscall.Mount(hold, top, "", syscall.MS_BIND, ""), syscall.Unmount(hold, syscall.MNT_DETACH))
	if err != nil {
		t.Fatal(err)
	}
	if unified, err := cgroup.Unified(); !unified || err != nil {
		t.Fatalf("unified: %v, %v", unified, err)
	}
}

// TestUnifiedHost: a container's life where there is one hierarchy of control groups.
func TestUnifiedHost(t *testing.T) {
	if os.Getenv("COVE_OWN_MOUNTS") == "" {
		inOwnMounts(t)
		return
	}
	onUnifiedHost(t)
	cfg := sh(t, `grep ^0 /proc/self/cgroup; grep ' /sys/fs/cgroup ' /proc/mounts | cut -d' ' -f3,4 | cut -d, -f1; test -f /sys/fs/cgroup/cgroup.events && echo own; cat </dev/full; head -c 1 /dev/zero | wc -c; read x`)
	cfg.Spec.Linux.Resources.Devices = []specs.LinuxDeviceCgroup{
		{Allow: false, Access: "rwm"}, {Allow: true, Type: "c", Access: "m"},
		{Allow: true, Type: "c", Major: ptr(int64(1)), Minor: ptr(int64(5)), Access: "rwm"},
	}
	inR, inW, _ := os.Pipe()
	outR, outW, _ := os.Pipe()
	c, err := Create(cfg, IO{Stdin: inR, Stdout: outW, Stderr: outW})
	outW.Close()
	if err != nil {
		t.Fatal(err)
	}
	defer destroy(t, c)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	r, w, _ := os.Pipe()
	p, err := c.Exec(specs.Process{Args: []string{"/bin/sh", "-c", "grep ^0 /proc/self/cgroup"}, Cwd: "/"}, "0", nil, IO{Stdout: w})
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	if out, _ := io.ReadAll(r); string(out) != "0::/\n" {
		t.Errorf("exec is in %q", out)
	}
	if _, err := p.Wait(); err != nil {
		t.Error(err)
	}
	if err := errors.Join(c.Cgroup().Freeze(), c.Cgroup().Thaw()); err != nil {
		t.Error(err)
	}
	inW.Close()
	out, _ := io.ReadAll(outR)
	if want := "0::/\ncgroup2 ro\nown\nsh: line 0: can't open /dev/full: Operation not permitted\n1\n"; string(out) != want {
		t.Errorf("got\n%s\nwant\n%s", out, want)
	}
	if _, err := c.Wait(); err != nil {
		t.Error(err)
	}
}
