package test

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cove-containers/cove/testkit"
)

// TestUmaskOfTheDaemon: modes in an image do not depend on the shell that started the daemon.
func TestUmaskOfTheDaemon(t *testing.T) {
	needRoot(t)
	images(t)
	e := newEngine(t)
	e.Shell = "umask 077"
	e.Start()
	e.Load("busybox")
	im, err := testkit.Craft("L; d o mode=755; f o/su 1 mode=4755 uid=1000; f o/sg 1 mode=2750 gid=7; d st mode=1777", busybox(t))
	if err != nil {
		t.Fatal(err)
	}
	load(e, im, "x:1")
	got := e.Run("cove", "run", "--rm", "x:1", "stat", "-c", "%a %u %g", "/o", "/o/su", "/o/sg", "/st")
	if want := "755 0 0\n4755 1000 0\n2750 0 7\n1777 0 0"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestOpenFileLimits: a container gets the limits the daemon was started with, not those its runtime raised for itself.
func TestOpenFileLimits(t *testing.T) {
	needRoot(t)
	images(t)
	e := newEngine(t)
	e.Shell = "ulimit -Sn 1024; ulimit -Hn 8192"
	e.Start()
	e.Load("busybox")
	if got := e.Run("cove", "run", "--rm", "busybox", "sh", "-c", "ulimit -Sn; ulimit -Hn"); got != "1024\n8192" {
		t.Errorf("run: %q", got)
	}
	e.Run("cove", "run", "-d", "--name", "c", "busybox", "sleep", "100")
	if got := e.Run("cove", "exec", "c", "sh", "-c", "ulimit -Sn; ulimit -Hn"); got != "1024\n8192" {
		t.Errorf("exec: %q", got)
	}
}

func busybox(t *testing.T) *testkit.Image {
	t.Helper()
	f, err := os.Open(filepath.Join(images(t), "busybox.tar"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	im, err := testkit.FromLayout(f, "amd64")
	if err != nil {
		t.Fatal(err)
	}
	return im
}

func load(e *Engine, im *testkit.Image, name string) {
	e.t.Helper()
	archive, err := im.DockerArchive(name)
	if err != nil {
		e.t.Fatal(err)
	}
	file := filepath.Join(e.Dir, "crafted.tar")
	if err := os.WriteFile(file, archive, 0o600); err != nil {
		e.t.Fatal(err)
	}
	e.Run("cove", "load", "-q", "-i", file)
}

// TestSecondDaemonIsRefused: one data root, one daemon; the first is not disturbed.
func TestSecondDaemonIsRefused(t *testing.T) {
	needRoot(t)
	e := newEngine(t)
	e.Start()
	for _, args := range [][]string{
		{"--exec-root", filepath.Join(e.Dir, "other"), "-H", "unix://" + filepath.Join(e.Dir, "other.sock")},
		{"--exec-root", filepath.Join(e.Dir, "run"), "-H", e.Socket()},
	} {
		cmd := exec.Command(filepath.Join(e.Bin, "coved"), append([]string{"--data-root", e.DataRoot}, args...)...)
		out, err := cmd.CombinedOutput()
		if err == nil || !strings.Contains(string(out), "another") && !strings.Contains(string(out), "running") {
			t.Errorf("%v: %v: %s", args, err, out)
		}
	}
	e.Run("cove", "version")
}

// TestPlainTCP is refused but on loopback.
func TestPlainTCP(t *testing.T) {
	needRoot(t)
	e := newEngine(t)
	cmd := exec.Command(filepath.Join(e.Bin, "coved"), "--data-root", filepath.Join(e.Dir, "d"), "--exec-root", filepath.Join(e.Dir, "r"), "-H", "tcp://0.0.0.0:0")
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(strings.ToLower(string(out)), "tls") {
		t.Errorf("plain TCP on every address: %v: %s", err, out)
	}
	addr := freeAddress()
	e.Args = append(e.Args, "-H", "tcp://"+addr)
	e.Start()
	resp, err := http.Get("http://" + addr + "/_ping")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("ping: %s", resp.Status)
	}
}

// TestBadBodies: what is no JSON, or far too long, is refused and the daemon lives.
func TestBadBodies(t *testing.T) {
	needRoot(t)
	e := newEngine(t)
	e.Start()
	c := &http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
		return net.Dial("unix", strings.TrimPrefix(e.Socket(), "unix://"))
	}}, Timeout: time.Minute}
	for name, body := range map[string]io.Reader{
		"no JSON":   strings.NewReader("<html>"),
		"trailing":  strings.NewReader(`{"Image":"x"} trailing`),
		"too long":  io.MultiReader(strings.NewReader(`{"Image":"`), bytes.NewReader(bytes.Repeat([]byte("a"), 100<<20)), strings.NewReader(`"}`)),
		"wrong":     strings.NewReader(`{"Image":7}`),
		"too deep":  strings.NewReader(strings.Repeat(`{"a":`, 100000)),
		"empty":     strings.NewReader(``),
		"no object": strings.NewReader(`[]`),
	} {
		resp, err := c.Post("http://cove/v1.45/containers/create", "application/json", body)
		if err != nil {
			// The daemon may end the connection before a body of that length is sent.
			if name == "too long" {
				continue
			}
			t.Errorf("%s: %v", name, err)
			continue
		}
		answer, _ := io.ReadAll(io.LimitReader(resp.Body, 10000))
		resp.Body.Close()
		if resp.StatusCode/100 != 4 || !bytes.Contains(answer, []byte(`"message"`)) {
			t.Errorf("%s: %s %s", name, resp.Status, answer)
		}
	}
	e.Run("cove", "version")
}

// TestFullDisk: a data root of 100 MB on a loop device. Every failure says so, and afterwards everything works.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	needRoot(t)
	images(t)
	if _, err := exec.LookPath("mkfs.ext4"); err != nil {
		t.Skip("needs mkfs.ext4 for a small disk")
	}
	e := newEngine(t)
	disk, mount := filepath.Join(t.TempDir(), "disk"), t.TempDir()
	for _, args := range [][]string{
		{"truncate", "-s", "100M", disk}, {"mkfs.ext4", "-q", disk}, {"mount", "-o", "loop", disk, mount},
	} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v: %s", args, err, out)
		}
	}
	unmounted := false
	unmount := func() {
		if !unmounted {
			unmounted = true
			if out, err := exec.Command("umount", mount).CombinedOutput(); err != nil {
				t.Errorf("unmount: %v: %s", err, out)
				exec.Command("umount", "-l", mount).Run()
			}
		}
	}
	t.Cleanup(unmount)
	e.DataRoot = filepath.Join(mount, "data")
	e.Start()
	e.Load("busybox")
	bomb, err := testkit.Craft("L; z zeros 400000000", busybox(t))
	if err != nil {
		t.Fatal(err)
	}
	archive, err := bomb.DockerArchive("bomb:1")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(e.Dir, "bomb.tar")
	if err := os.WriteFile(file, archive, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, errOut, code := e.Try("cove", "load", "-i", file); code == 0 || !strings.Contains(errOut+out, "no space left") {
		t.Errorf("load of a bomb: status %d: %s%s", code, out, errOut)
	}
	if _, _, code := e.Try("cove", "image", "inspect", "bomb:1"); code == 0 {
		t.Error("the bomb is an image now")
	}
	if got := e.Run("cove", "run", "--rm", "busybox", "echo", "fine"); got != "fine" {
		t.Errorf("after the bomb: %q", got)
	}
	out, errOut, code := e.Try("cove", "run", "--name", "full", "busybox", "sh", "-c", "cat /dev/zero > /fill")
	if code == 0 || !strings.Contains(errOut, "No space left") {
		t.Errorf("filling the disk: status %d: %s%s", code, out, errOut)
	}
	e.Run("cove", "version")
	e.Run("cove", "rm", "full")
	if got := e.Run("cove", "run", "--rm", "busybox", "echo", "fine"); got != "fine" {
		t.Errorf("after the culprit is gone: %q", got)
	}
	e.finishOnce()
	unmount()
}

// TestReadOnlyDataRoot is refused with the reason, before anything is done.
func TestReadOnlyDataRoot(t *testing.T) {
	needRoot(t)
	e := newEngine(t)
	mount := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "ro", "cove-test", mount).CombinedOutput(); err != nil {
		t.Fatalf("mount: %v: %s", err, out)
	}
	t.Cleanup(func() { exec.Command("umount", mount).Run() })
	cmd := exec.Command(filepath.Join(e.Bin, "coved"), "--data-root", filepath.Join(mount, "data"), "--exec-root", filepath.Join(e.Dir, "r"), "-H", "unix://"+e.Dir+"/s")
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "read-only file system") {
		t.Errorf("%v: %s", err, out)
	}
}

// TestStacks: on SIGUSR1 the daemon writes down what it is doing, and goes on with it.
func TestStacks(t *testing.T) {
	needRoot(t)
	e := newEngine(t)
	e.Start()
	for range 2 {
		if err := e.daemon.Process.Signal(syscall.SIGUSR1); err != nil {
			t.Fatal(err)
		}
		var text []byte
		for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			found, err := filepath.Glob(filepath.Join(e.Dir, "run", "goroutine-stacks-*.log"))
			if err != nil {
				t.Fatal(err)
			}
			if len(found) == 1 && strings.Contains(e.log.String(), found[0]) {
				if text, err = os.ReadFile(found[0]); err != nil {
					t.Fatal(err)
				}
				if info, err := os.Stat(found[0]); err != nil || info.Mode() != 0o600 {
					t.Errorf("%v, %v", info.Mode(), err)
				}
				os.Remove(found[0])
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("stacks: %q", found)
			}
		}
		for _, want := range []string{"\ngoroutine ", "main.run(", "listen.Service.Serve("} {
			if !strings.Contains(string(text), want) {
				t.Errorf("no %q in\n%s", want, text)
			}
		}
	}
	e.Run("cove", "version")
}
