package shim

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/cove-containers/cove/runtime"
)

// TestExternalRuntimes runs the same small life with every OCI runtime the host has.
func TestExternalRuntimes(t *testing.T) {
	for _, name := range []string{"runc", "crun"} {
		binary, err := exec.LookPath(name)
		if err != nil {
			t.Logf("no %s here", name)
			continue
		}
		t.Run(name, func(t *testing.T) { externalLife(t, binary) })
	}
}

func externalLife(t *testing.T, binary string) {
	w := newWorld(t)
	use := func(cfg *Config) {
		cfg.Runtime, cfg.User = binary, "daemon"
		cfg.Spec.Root.Readonly = false
		cfg.Stdin, cfg.StdinOnce = true, true
	}
	s, cfg := w.launch(`id -u; read line; echo "$line" >/tmp/f; cat /tmp/f; echo err >&2; exit 6`, use)
	if err := os.Chmod(w.lower+"/tmp", 0o777); err != nil {
		t.Fatal(err)
	}
	stream := w.attach(s, "", AttachOptions{Stdin: true, Stdout: true, Stderr: true})
	if _, err := s.Create(t.Context(), cfg); err != nil {
		if strings.Contains(err.Error(), "hybrid mode") {
			t.Skip("this runtime refuses hosts with both versions of cgroups")
		}
		t.Fatal(err)
	}
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Exec(t.Context(), "x", execConfig(`echo in; exit 3`)); err != nil {
		t.Fatal(err)
	}
	out := w.attach(s, "x", outputs)
	if pid, err := s.ExecStart(t.Context(), "x"); err != nil || pid == 0 {
		t.Fatal(pid, err)
	}
	if stdout, _, err := split(out); string(stdout) != "in\n" || err != nil {
		t.Errorf("exec %q %v", stdout, err)
	}
	if exit, err := s.ExecWait(t.Context(), "x"); exit.Code != 3 || err != nil {
		t.Errorf("exec %+v %v", exit, err)
	}
	fmt.Fprintln(stream, "hello")
	stdout, stderr, err := split(stream)
	if string(stdout) != "1\nhello\n" || string(stderr) != "err\n" || err != nil {
		t.Errorf("%q %q %v", stdout, stderr, err)
	}
	if exit := w.wait(s); exit.Code != 6 {
		t.Errorf("exit %+v", exit)
	}
	if err := s.Delete(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := runtime.OpenCgroup(cfg.Spec.Linux.CgroupsPath); err == nil {
		t.Error("cgroup is left")
	}
	if text, err := os.ReadFile("/proc/self/mounts"); err != nil || strings.Contains(string(text), w.dir) {
		t.Errorf("mount is left: %v", err)
	}
	externalTerminal(w, binary)
	externalFailure(w, binary)
	externalInit(w, binary)
}

func externalInit(w *world, binary string) {
	s, cfg := w.launch(`[ $$ = 1 ] || exit 8`, func(cfg *Config) { cfg.Runtime, cfg.Init = binary, true })
	w.run(s, cfg)
	if exit := w.wait(s); exit.Code != 8 {
		w.t.Errorf("with an init: exit %+v", exit)
	}
}

func externalTerminal(w *world, binary string) {
	s, cfg := w.launch(`stty size; sleep 60`, func(cfg *Config) {
		cfg.Runtime, cfg.Terminal, cfg.Stdin, cfg.Width, cfg.Height = binary, true, true, 90, 30
	})
	stream := w.attach(s, "", AttachOptions{Stdout: true})
	w.run(s, cfg)
	got := make([]byte, len("30 90\r\n"))
	if _, err := io.ReadFull(stream, got); err != nil || string(got) != "30 90\r\n" {
		w.t.Errorf("terminal %q %v", got, err)
	}
	if err := s.Kill(w.t.Context(), 9, false); err != nil {
		w.t.Error(err)
	}
	if exit := w.wait(s); exit.Code != 137 {
		w.t.Errorf("exit %+v", exit)
	}
}

func externalFailure(w *world, binary string) {
	s, cfg := w.launch("", func(cfg *Config) {
		cfg.Runtime, cfg.Spec.Process.Args = binary, []string{"nosuch"}
	})
	_, err := s.Create(w.t.Context(), cfg)
	if err == nil {
		err = s.Start(w.t.Context())
	}
	var start *runtime.StartError
	if !errors.As(err, &start) || start.Code != 127 {
		w.t.Errorf("no such program: %v", err)
	}
}
