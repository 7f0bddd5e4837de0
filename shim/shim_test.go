package shim

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cove-containers/cove/runtime"
)

// background outlives the test's own context, for cleaning up.
var background = context.Background()

func TestRun(t *testing.T) {
	w := newWorld(t)
	s, cfg := w.launch(`echo out; echo err >&2; printf last; exit 42`, nil)
	both, only := w.attach(s, "", outputs), w.attach(s, "", AttachOptions{Stderr: true})
	w.run(s, cfg)
	if exit := w.wait(s); exit.Code != 42 || exit.Signal != 0 || exit.OOMKilled || time.Since(exit.At) > time.Minute {
		t.Errorf("exit %+v", exit)
	}
	if got := w.logged(cfg); got != "out\nerr\nlast" && got != "err\nout\nlast" && got != "out\nlasterr\n" {
		t.Errorf("log %q", got)
	}
	stdout, stderr, err := split(both)
	if string(stdout) != "out\nlast" || string(stderr) != "err\n" || err != nil {
		t.Errorf("attached: %q %q %v", stdout, stderr, err)
	}
	stdout, stderr, err = split(only)
	if len(stdout) != 0 || string(stderr) != "err\n" || err != nil {
		t.Errorf("attached to stderr: %q %q %v", stdout, stderr, err)
	}
	late := w.attach(s, "", outputs)
	if stdout, _, err := split(late); len(stdout) != 0 || err != nil {
		t.Errorf("attached late: %q %v", stdout, err)
	}
	if err := s.Kill(t.Context(), 9, false); !errdefs.IsNotFound(err) {
		t.Errorf("kill after the end: %v", err)
	}
	if err := s.Delete(t.Context()); err != nil {
		t.Error(err)
	}
	if left, err := w.Leftovers(); len(left) != 0 || err != nil {
		t.Errorf("left: %v %v", left, err)
	}
}

func TestSignals(t *testing.T) {
	w := newWorld(t)
	s, cfg := w.launch(`trap 'exit 7' TERM; echo ready; while :; do sleep .05; done`, nil)
	out := w.attach(s, "", outputs)
	w.run(s, cfg)
	if _, err := io.ReadFull(out, make([]byte, 8+len("ready\n"))); err != nil {
		t.Fatal(err)
	}
	if err := s.Kill(t.Context(), int(syscall.SIGTERM), false); err != nil {
		t.Fatal(err)
	}
	if exit := w.wait(s); exit.Code != 7 {
		t.Errorf("exit %+v", exit)
	}
	s, cfg = w.launch(`sleep 60`, nil)
	w.run(s, cfg)
	if err := s.Kill(t.Context(), int(syscall.SIGKILL), true); err != nil {
		t.Fatal(err)
	}
	if exit := w.wait(s); exit.Code != 137 || exit.Signal != 9 {
		t.Errorf("exit %+v", exit)
	}
}

func TestProgramsThatCannotStart(t *testing.T) {
	w := newWorld(t)
	for program, want := range map[string]int{"nosuchcmd": 127, "/bin/nosuch": 127, "/etc": 126, "/etc/passwd": 126} {
		s, cfg := w.launch("", func(cfg *Config) { cfg.Spec.Process.Args = []string{program} })
		out := w.attach(s, "", outputs)
		_, err := s.Create(t.Context(), cfg)
		if err == nil {
			err = s.Start(t.Context())
		}
		var start *runtime.StartError
		if !errors.As(err, &start) || start.Code != want {
			t.Errorf("%s: %v", program, err)
		}
		if stdout, _, err := split(out); len(stdout) != 0 || err != nil {
			t.Errorf("%s: attached client gets %q, %v", program, stdout, err)
		}
		if err := s.Delete(t.Context()); err != nil {
			t.Errorf("%s: delete: %v", program, err)
		}
	}
	s, cfg := w.launch("", func(cfg *Config) { cfg.User = "nosuch" })
	if _, err := s.Create(t.Context(), cfg); !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), "unable to find user nosuch") {
		t.Errorf("user: %v", err)
	}
	s, cfg = w.launch("", func(cfg *Config) { cfg.Log.Options = map[string]string{"max-size": "x"} })
	if _, err := s.Create(t.Context(), cfg); err == nil || err.Error() != "failed to initialize logging driver: invalid size: 'x'" {
		t.Errorf("log: %v", err)
	}
}

// TestInput: ten megabytes go in and come back, byte for byte; the end of input is passed on.
func TestInput(t *testing.T) {
	w := newWorld(t)
	data := make([]byte, 10_000_000)
	_, _ = rand.Read(data)
	s, cfg := w.launch(`cat; echo tail >&2`, func(cfg *Config) {
		cfg.Stdin, cfg.StdinOnce, cfg.Log.Driver = true, true, "none"
	})
	stream := w.attach(s, "", AttachOptions{Stdin: true, Stdout: true, Stderr: true})
	w.run(s, cfg)
	var writer sync.WaitGroup
	writer.Go(func() {
		if _, err := stream.Write(data); err != nil {
			t.Error(err)
		}
		if err := stream.CloseWrite(); err != nil {
			t.Error(err)
		}
	})
	stdout, stderr, err := split(stream)
	writer.Wait()
	if sha256.Sum256(stdout) != sha256.Sum256(data) || string(stderr) != "tail\n" || err != nil {
		t.Errorf("%d bytes back, %q, %v", len(stdout), stderr, err)
	}
	if exit := w.wait(s); exit.Code != 0 {
		t.Errorf("exit %+v", exit)
	}
}

func TestNoInput(t *testing.T) {
	w := newWorld(t)
	s, cfg := w.launch(`cat; echo done`, nil)
	w.run(s, cfg)
	if exit := w.wait(s); exit.Code != 0 || w.logged(cfg) != "done\n" {
		t.Errorf("exit %+v", exit)
	}
}

// TestInputOfOneClient: without StdinOnce a client's end of input ends its attachment, not the process's input.
func TestInputOfOneClient(t *testing.T) {
	w := newWorld(t)
	s, cfg := w.launch(`read a; echo "got $a"; read b; echo "got $b"`, func(cfg *Config) { cfg.Stdin = true })
	first := w.attach(s, "", AttachOptions{Stdin: true, Stdout: true})
	w.run(s, cfg)
	fmt.Fprintln(first, "one")
	if _, err := io.ReadFull(first, make([]byte, 8+len("got one\n"))); err != nil {
		t.Fatal(err)
	}
	if err := first.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if out, _, err := split(first); len(out) != 0 || err != nil {
		t.Errorf("after the end of input: %q %v", out, err)
	}
	second := w.attach(s, "", AttachOptions{Stdin: true, Stdout: true})
	fmt.Fprintln(second, "two")
	if out, _, err := split(second); string(out) != "got two\n" || err != nil {
		t.Errorf("second client: %q %v", out, err)
	}
	w.wait(s)
}

func TestTerminal(t *testing.T) {
	w := newWorld(t)
	s, cfg := w.launch(`stty size; read line; stty size; echo "<$line>"; tty >/dev/null && exit 3`, func(cfg *Config) {
		cfg.Terminal, cfg.Stdin, cfg.Width, cfg.Height = true, true, 100, 40
		cfg.Spec.Process.Terminal = true
	})
	stream := w.attach(s, "", AttachOptions{Stdin: true, Stdout: true, Stderr: true})
	w.run(s, cfg)
	first := make([]byte, len("40 100\r\n"))
	if _, err := io.ReadFull(stream, first); err != nil || string(first) != "40 100\r\n" {
		t.Fatalf("%q %v", first, err)
	}
	if err := s.Resize(t.Context(), "", 33, 11); err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(stream, "hello\r")
	rest, err := io.ReadAll(stream)
	if string(rest) != "hello\r\n11 33\r\n<hello>\r\n" || err != nil {
		t.Errorf("%q %v", rest, err)
	}
	if exit := w.wait(s); exit.Code != 3 {
		t.Errorf("exit %+v", exit)
	}
	if got := w.logged(cfg); got != "40 100\r\nhello\r\n11 33\r\n<hello>\r\n" {
		t.Errorf("log %q", got)
	}
}

func TestExec(t *testing.T) {
	w := newWorld(t)
	s, cfg := w.launch(`sleep 60`, nil)
	if err := s.Exec(t.Context(), "early", execConfig("true")); !errdefs.IsConflict(err) {
		t.Errorf("exec before the start: %v", err)
	}
	w.run(s, cfg)
	c := execConfig(`cat; echo err >&2; exit 5`)
	c.Stdin = true
	if err := s.Exec(t.Context(), "a", c); err != nil {
		t.Fatal(err)
	}
	stream := w.attach(s, "a", AttachOptions{Stdin: true, Stdout: true, Stderr: true})
	pid, err := s.ExecStart(t.Context(), "a")
	if err != nil || pid == 0 {
		t.Fatal(pid, err)
	}
	fmt.Fprint(stream, "through")
	_ = stream.CloseWrite()
	stdout, stderr, err := split(stream)
	if string(stdout) != "through" || string(stderr) != "err\n" || err != nil {
		t.Errorf("%q %q %v", stdout, stderr, err)
	}
	if exit, err := s.ExecWait(t.Context(), "a"); exit.Code != 5 || err != nil {
		t.Errorf("exit %+v %v", exit, err)
	}
	if err := s.Exec(t.Context(), "b", func() ExecConfig { c := execConfig(""); c.Process.Args = []string{"nosuch"}; return c }()); err != nil {
		t.Fatal(err)
	}
	out := w.attach(s, "b", outputs)
	var start *runtime.StartError
	if _, err := s.ExecStart(t.Context(), "b"); !errors.As(err, &start) || start.Code != 127 {
		t.Errorf("exec of nothing: %v", err)
	}
	if _, _, err := split(out); err != nil {
		t.Error(err)
	}
	if exit, err := s.ExecWait(t.Context(), "b"); exit.Code != 127 || err != nil {
		t.Errorf("exit %+v %v", exit, err)
	}
	if err := s.ExecDelete(t.Context(), "b"); err != nil {
		t.Error(err)
	}
	known, err := s.Execs(t.Context())
	if err != nil || len(known) != 1 || known[0].Exit == nil || known[0].Exit.Code != 5 || string(known[0].Note) != `{"who":"test"}` {
		t.Errorf("execs %+v %v", known, err)
	}
}

// TestKillEndsExecs: execs die with their container, and their clients hear of it.
func TestKillEndsExecs(t *testing.T) {
	w := newWorld(t)
	s, cfg := w.launch(`sleep 60`, nil)
	w.run(s, cfg)
	if err := s.Exec(t.Context(), "x", execConfig("echo on; sleep 50")); err != nil {
		t.Fatal(err)
	}
	out := w.attach(s, "x", outputs)
	if _, err := s.ExecStart(t.Context(), "x"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(out, make([]byte, 8+len("on\n"))); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	if err := s.Kill(t.Context(), 9, false); err != nil {
		t.Fatal(err)
	}
	if exit, err := s.ExecWait(t.Context(), "x"); exit.Code != 137 || err != nil {
		t.Errorf("exec %+v %v", exit, err)
	}
	if _, _, err := split(out); err != nil {
		t.Error(err)
	}
	if exit := w.wait(s); exit.Code != 137 || time.Since(begin) > time.Second {
		t.Errorf("exit %+v after %s", exit, time.Since(begin))
	}
}

// TestExecTerminal: a resize before the start counts.
func TestExecTerminal(t *testing.T) {
	w := newWorld(t)
	s, cfg := w.launch(`sleep 60`, nil)
	w.run(s, cfg)
	c := execConfig(`stty size; echo x; exit 4`)
	c.Terminal, c.Stdin, c.Process.Terminal = true, true, true
	if err := s.Exec(t.Context(), "x", c); err != nil {
		t.Fatal(err)
	}
	out := w.attach(s, "x", AttachOptions{Stdin: true, Stdout: true, Stderr: true})
	if err := s.Resize(t.Context(), "x", 77, 22); err != nil {
		t.Fatal(err)
	}
	if _, err := s.ExecStart(t.Context(), "x"); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(out); string(got) != "22 77\r\nx\r\n" || err != nil {
		t.Errorf("%q %v", got, err)
	}
	if exit, err := s.ExecWait(t.Context(), "x"); exit.Code != 4 || err != nil {
		t.Errorf("exit %+v %v", exit, err)
	}
}

// TestLeftBehind: what an exec leaves running keeps its output open only for a moment.
func TestLeftBehind(t *testing.T) {
	w := newWorld(t)
	s, cfg := w.launch(`sleep 60`, nil)
	w.run(s, cfg)
	if err := s.Exec(t.Context(), "x", execConfig(`(sleep .5; echo soon; sleep 30) & echo now`)); err != nil {
		t.Fatal(err)
	}
	out := w.attach(s, "x", outputs)
	begin := time.Now()
	if _, err := s.ExecStart(t.Context(), "x"); err != nil {
		t.Fatal(err)
	}
	stdout, _, err := split(out)
	if string(stdout) != "now\nsoon\n" || err != nil {
		t.Errorf("%q %v", stdout, err)
	}
	if took := time.Since(begin); took > 8*time.Second {
		t.Errorf("took %s", took)
	}
}

// TestSlowClient: one client that does not read makes the container wait, not the log lose or another client starve for
// ever; when it hangs up, the container goes on at once.
func TestSlowClient(t *testing.T) {
	w := newWorld(t)
	s, cfg := w.launch(`head -c 8000000 /dev/zero | tr '\0' x; echo; echo done`, func(cfg *Config) { cfg.Log.Driver = "local" })
	slow := w.attach(s, "", outputs)
	w.run(s, cfg)
	select {
	case <-s.Done():
		t.Error("the container does not wait for its client")
	case <-time.After(700 * time.Millisecond):
	}
	_ = slow.Close()
	if exit := w.wait(s); exit.Code != 0 {
		t.Errorf("exit %+v", exit)
	}
	if got := w.logged(cfg); len(got) != 8000000+len("\ndone\n") {
		t.Errorf("log has %d bytes", len(got))
	}
}

// TestSlowClientGetsAll: the exit is told in time although a client reads slowly, and still it gets everything, also
// after the supervisor was told to go.
func TestSlowClientGetsAll(t *testing.T) {
	w := newWorld(t)
	s, cfg := w.launch(`head -c 1300000 /dev/zero | tr '\0' y`, func(cfg *Config) { cfg.Log.Driver = "none" })
	slow := w.attach(s, "", outputs)
	w.run(s, cfg)
	w.wait(s)
	deleted := make(chan error, 1)
	go func() { deleted <- s.Delete(background) }()
	time.Sleep(100 * time.Millisecond)
	stdout, _, err := split(slow)
	if len(stdout) != 1300000 || err != nil {
		t.Errorf("%d bytes, %v", len(stdout), err)
	}
	if err := <-deleted; err != nil {
		t.Error(err)
	}
}

func TestOutOfMemory(t *testing.T) {
	w := newWorld(t)
	s, cfg := w.launch(`head -c 100000000 /dev/zero | tail -n 1 >/dev/null; exit $?`, func(cfg *Config) {
		limit := int64(20 << 20)
		cfg.Spec.Linux.Resources.Memory = &specs.LinuxMemory{Limit: &limit, Swap: &limit}
	})
	w.run(s, cfg)
	if exit := w.wait(s); exit.Code != 137 || !exit.OOMKilled {
		t.Errorf("exit %+v", exit)
	}
}

// TestHostPIDs: without a pid namespace of its own, what the container started dies with it all the same.
func TestHostPIDs(t *testing.T) {
	w := newWorld(t)
	s, cfg := w.launch(`sleep 61 & echo $!`, func(cfg *Config) {
		kept := cfg.Spec.Linux.Namespaces[:0]
		for _, ns := range cfg.Spec.Linux.Namespaces {
			if ns.Type != specs.PIDNamespace {
				kept = append(kept, ns)
			}
		}
		cfg.Spec.Linux.Namespaces = kept
		cfg.Spec.Mounts[0] = specs.Mount{Destination: "/proc", Type: "bind", Source: "/proc", Options: []string{"rbind"}}
	})
	begin := time.Now()
	w.run(s, cfg)
	if exit := w.wait(s); exit.Code != 0 || time.Since(begin) > time.Second {
		t.Errorf("exit %+v after %s", exit, time.Since(begin))
	}
	pid := strings.TrimSpace(w.logged(cfg))
	if text, err := os.ReadFile(filepath.Join("/proc", pid, "cmdline")); err == nil && bytes.Contains(text, []byte("61")) {
		t.Errorf("process %s lives on", pid)
	}
}

func TestName(t *testing.T) {
	w := newWorld(t)
	s, cfg := w.launch(`sleep 60`, nil)
	w.run(s, cfg)
	supervisor := s.process.Pid
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", supervisor))
	if err != nil || !strings.HasPrefix(string(text), "cove-shim\x00"+s.id+"\x00") {
		t.Errorf("command line %q %v", text, err)
	}
	if text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", supervisor)); string(text) != "cove-shim\n" {
		t.Errorf("command %q", text)
	}
}
