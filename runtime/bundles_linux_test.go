package runtime

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cove-containers/cove/sys"
)

// testBundle writes a bundle whose container runs a shell script; the script's output goes to this test's.
func testBundle(t *testing.T, script string, change func(*specs.Spec)) (id, bundle string) {
	t.Helper()
	cfg := sh(t, script)
	bundle = t.TempDir()
	if err := os.CopyFS(filepath.Join(bundle, "rootfs"), os.DirFS(busybox(t))); err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(cfg.Spec)
	}
	text, err := json.Marshal(cfg.Spec)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(bundle, "config.json"), string(text), 0o644)
	return cfg.ID, bundle
}

func mustLoad(t *testing.T, b *Bundles, id string, status specs.ContainerState) *Record {
	t.Helper()
	r, err := b.Load(id)
	if err != nil {
		t.Fatal(err)
	}
	if r.Status != status {
		t.Fatalf("status %s, want %s", r.Status, status)
	}
	return r
}

func TestBundleLife(t *testing.T) {
	b := OpenBundles(filepath.Join(t.TempDir(), "state"))
	id, bundle := testBundle(t, "echo started >/out; sleep 100", nil)
	pidFile := filepath.Join(t.TempDir(), "pid")
	c, err := b.Create(id, CreateOptions{Bundle: bundle, PidFile: pidFile})
	if err != nil {
		t.Fatal(err)
	}
	defer destroy(t, c)
	r := mustLoad(t, b, id, specs.StateCreated)
	if text, err := os.ReadFile(pidFile); err != nil || string(text) != fmt.Sprint(c.Pid()) || r.Pid != c.Pid() {
		t.Errorf("pid file %q, %v, record %d", text, err, r.Pid)
	}
	if _, err := b.Create(id, CreateOptions{Bundle: bundle}); !errors.Is(err, errdefs.ErrAlreadyExists) {
		t.Errorf("second create: %v", err)
	}
	if err := b.Start(id); err != nil {
		t.Fatal(err)
	}
	mustLoad(t, b, id, specs.StateRunning)
	waitFor(t, "the program", func() bool { _, err := os.Stat(filepath.Join(bundle, "rootfs/out")); return err == nil })
	if err := b.Start(id); !errors.Is(err, errdefs.ErrFailedPrecondition) {
		t.Errorf("second start: %v", err)
	}
	if err := b.Delete(id, false); !errors.Is(err, errdefs.ErrFailedPrecondition) {
		t.Errorf("delete of a running container: %v", err)
	}
	if err := b.Freeze(id, true); err != nil {
		t.Fatal(err)
	}
	mustLoad(t, b, id, Paused)
	if _, err := b.Exec(id, ExecOptions{Process: specs.Process{Args: []string{"/bin/true"}}}); !errors.Is(err, errdefs.ErrFailedPrecondition) {
		t.Errorf("exec in a paused container: %v", err)
	}
	if err := b.Freeze(id, false); err != nil {
		t.Fatal(err)
	}
	p, err := b.Exec(id, ExecOptions{Process: specs.Process{Args: []string{"/bin/sh", "-c", "exit 9"}, Cwd: "/"}})
	if err != nil {
		t.Fatal(err)
	}
	if status, err := p.Wait(); err != nil || status.Code != 9 {
		t.Errorf("exec: %+v, %v", status, err)
	}
	if err := b.Kill(id, syscall.SIGKILL, false); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Wait(); err != nil {
		t.Fatal(err)
	}
	mustLoad(t, b, id, specs.StateStopped)
	if err := b.Kill(id, syscall.SIGTERM, false); !errors.Is(err, errdefs.ErrFailedPrecondition) {
		t.Errorf("signal to a stopped container: %v", err)
	}
	if err := b.Delete(id, false); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Load(id); !errors.Is(err, errdefs.ErrNotFound) {
		t.Errorf("a deleted container: %v", err)
	}
	if err := b.Delete(id, true); err != nil {
		t.Errorf("delete of nothing by force: %v", err)
	}
}

func TestBundleWithoutProgram(t *testing.T) {
	b := OpenBundles(t.TempDir())
	id, bundle := testBundle(t, "", func(s *specs.Spec) { s.Process.Args = []string{"/bad"} })
	writeFile(t, filepath.Join(bundle, "rootfs/bad"), "not a program", 0o755)
	c, err := b.Create(id, CreateOptions{Bundle: bundle})
	if err != nil {
		t.Fatal(err)
	}
	defer destroy(t, c)
	var failed *StartError
	if err := b.Start(id); !errors.As(err, &failed) || failed.Code != 126 {
		t.Errorf("start: %v", err)
	}
	if _, err := c.Wait(); err != nil {
		t.Fatal(err)
	}
	if err := b.Start(id); !errors.Is(err, errdefs.ErrFailedPrecondition) {
		t.Errorf("start of a stopped container: %v", err)
	}
	if err := b.Delete(id, false); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{"", "..", "a/b", "a b"} {
		if _, err := b.Create(bad, CreateOptions{Bundle: bundle}); !errors.Is(err, errdefs.ErrInvalidArgument) {
			t.Errorf("id %q: %v", bad, err)
		}
	}
	entries, err := os.ReadDir(b.root)
	if err != nil || len(entries) != 0 {
		t.Errorf("left %v, %v", entries, err)
	}
}

func TestHooks(t *testing.T) {
	out := filepath.Join(t.TempDir(), "hooks")
	hook := func(name string) []specs.Hook {
		return []specs.Hook{{
			Path: "/bin/sh", Args: []string{"sh", "-c", `echo ` + name + ` $X $(sed 's/.*"status":"\([a-z]*\)".*/\1/') >>` + out}, Env: []string{"X=y", "PATH=/bin:/usr/bin"},
		}}
	}
	inside := []specs.Hook{{Path: "/bin/sh", Args: []string{"sh", "-c", "cat >/hooked; readlink /proc/self/ns/net >>/hooked"}, Env: []string{"PATH=/bin"}}}
	id, bundle := testBundle(t, "cat /hooked >/seen", func(s *specs.Spec) {
		s.Hooks = &specs.Hooks{
			//lint:ignore SA1019 kept for older bundles
			Prestart: hook("prestart"), CreateRuntime: hook("createRuntime"), CreateContainer: hook("createContainer"),
			StartContainer: inside, Poststart: hook("poststart"), Poststop: hook("poststop"),
		}
	})
	b := OpenBundles(t.TempDir())
	c, err := b.Create(id, CreateOptions{Bundle: bundle})
	if err != nil {
		t.Fatal(err)
	}
	defer destroy(t, c)
	if err := b.Start(id); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Wait(); err != nil {
		t.Fatal(err)
	}
	if err := b.Delete(id, false); err != nil {
		t.Fatal(err)
	}
	want := "prestart y created\ncreateRuntime y creating\ncreateContainer y creating\npoststart y running\npoststop y stopped\n"
	if text, _ := os.ReadFile(out); string(text) != want {
		t.Errorf("hooks ran as\n%s\nwant\n%s", text, want)
	}
	if text, _ := os.ReadFile(filepath.Join(bundle, "rootfs/seen")); !strings.Contains(string(text), `"status":"created"`) || !strings.Contains(string(text), "net:[") {
		t.Errorf("the hook inside left %q", text)
	}
	id, bundle = testBundle(t, "true", func(s *specs.Spec) {
		s.Hooks = &specs.Hooks{CreateRuntime: []specs.Hook{{Path: "/bin/sh", Args: []string{"sh", "-c", "echo reason >&2; exit 3"}}}}
	})
	if _, err := b.Create(id, CreateOptions{Bundle: bundle}); err == nil || !strings.Contains(err.Error(), "reason") {
		t.Errorf("a failing hook: %v", err)
	}
	id, bundle = testBundle(t, "true", func(s *specs.Spec) {
		//lint:ignore SA1019 kept for older bundles
		s.Hooks = &specs.Hooks{Prestart: []specs.Hook{{Path: "/bin/sleep", Args: []string{"sleep", "100"}, Timeout: ptr(1)}}}
	})
	if _, err := b.Create(id, CreateOptions{Bundle: bundle}); err == nil || !strings.Contains(err.Error(), "timeout") {
		t.Errorf("a slow hook: %v", err)
	}
}

func TestConsoleSocket(t *testing.T) {
	dir := t.TempDir()
	l, err := sys.ListenSocket(dir, "console")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	got := make(chan *os.File, 1)
	go func() {
		defer close(got)
		s, err := l.Accept()
		if err != nil {
			return
		}
		defer s.Close()
		if _, f, err := s.ReadFile(make([]byte, 64)); err == nil {
			got <- f
		}
	}()
	id, bundle := testBundle(t, "tty; stty size", func(s *specs.Spec) {
		s.Process.Terminal, s.Process.ConsoleSize = true, &specs.Box{Height: 11, Width: 22}
	})
	b := OpenBundles(t.TempDir())
	if _, err := b.Create(id, CreateOptions{Bundle: bundle}); !errors.Is(err, errdefs.ErrInvalidArgument) {
		t.Errorf("no console socket: %v", err)
	}
	c, err := b.Create(id, CreateOptions{Bundle: bundle, ConsoleSocket: filepath.Join(dir, "console")})
	if err != nil {
		t.Fatal(err)
	}
	defer destroy(t, c)
	c.Console().Close()
	if err := b.Start(id); err != nil {
		t.Fatal(err)
	}
	console := <-got
	defer console.Close()
	text := make([]byte, 0, 100)
	for {
		n, err := console.Read(text[len(text):cap(text)])
		text = text[:len(text)+n]
		if err != nil {
			break
		}
	}
	if string(text) != "/dev/pts/0\r\n11 22\r\n" {
		t.Errorf("got %q", text)
	}
	if err := b.Delete(id, true); err != nil {
		t.Error(err)
	}
}
