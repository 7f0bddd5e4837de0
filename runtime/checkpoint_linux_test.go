package runtime

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cove-containers/cove/testkit"
)

// criu is the criu that keeps and restores processes on this kernel.
func criu(t *testing.T) string {
	t.Helper()
	needRoot(t)
	if why := testkit.WorkingCriu(); why != nil {
		t.Skip("needs a criu that works on this kernel: ", why)
	}
	program, err := exec.LookPath("criu")
	if err != nil {
		t.Fatal(err)
	}
	return program
}

// TestCheckpoint: a container goes on where it was, with its memory, files in memory, limits, filter, and streams.
func TestCheckpoint(t *testing.T) {
	program := criu(t)
	shared := t.TempDir()
	writeFile(t, filepath.Join(shared, "here"), "mounted\n", 0o644)
	cfg := sh(t, `n=7; echo kept >/dev/shm/file; echo ready; read go; echo $n $(cat /dev/shm/file /shared/here) $(hostname); exit $n`)
	cfg.Spec.Mounts = append(cfg.Spec.Mounts, specs.Mount{Destination: "/shared", Source: shared, Type: "bind", Options: []string{"rbind", "ro"}})
	images := t.TempDir()
	startPiped(t, cfg, Create, func(c *Container, _, out *os.File) {
		if line := readLine(t, out); line != "ready" {
			t.Fatalf("got %q", line)
		}
		if err := c.Checkpoint(CheckpointOptions{Criu: program, Images: images}); err != nil {
			t.Fatal(err)
		}
		status, err := c.Wait()
		if err != nil || status.Code != 137 {
			t.Errorf("after the checkpoint: %+v, %v", status, err)
		}
	})
	startPiped(t, cfg, func(c Config, s IO) (*Container, error) {
		return Restore(c, s, CheckpointOptions{Criu: program, Images: images, Work: t.TempDir()})
	}, func(c *Container, in, out *os.File) {
		if _, err := io.WriteString(in, "go\n"); err != nil {
			t.Fatal(err)
		}
		if line := readLine(t, out); line != "7 kept mounted box" {
			t.Errorf("got %q", line)
		}
		status, err := c.Wait()
		if err != nil || status.Code != 7 {
			t.Errorf("at its end: %+v, %v", status, err)
		}
	})
	// Its first process is there already when this one has no room for helpers.
	cfg.Spec.Linux.Resources.Pids = &specs.LinuxPids{Limit: ptr(int64(1))}
	_, err := Restore(cfg, IO{}, CheckpointOptions{Criu: program, Images: images, Work: t.TempDir()})
	if err == nil || !strings.HasPrefix(err.Error(), "restore checkpoint: criu failed: (") {
		t.Errorf("beyond a limit: %v", err)
	}
	if _, err := OpenCgroup(cfg.Spec.Linux.CgroupsPath); !errors.Is(err, errdefs.ErrNotFound) {
		t.Errorf("its cgroup: %v", err)
	}
	if _, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); !errors.Is(err, syscall.ECHILD) {
		t.Errorf("its processes: %v", err)
	}
}

// startPiped makes a container and starts it, for use to write to its input and read from its output.
func startPiped(t *testing.T, cfg Config, make func(Config, IO) (*Container, error), use func(c *Container, in, out *os.File)) {
	t.Helper()
	inR, inW, _ := os.Pipe()
	outR, outW, _ := os.Pipe()
	defer inW.Close()
	defer outR.Close()
	c, err := make(cfg, IO{Stdin: inR, Stdout: outW, Stderr: outW})
	inR.Close()
	outW.Close()
	if err != nil {
		t.Fatal(err)
	}
	defer destroy(t, c)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	use(c, inW, outR)
}

func readLine(t *testing.T, f *os.File) string {
	t.Helper()
	var line []byte
	for b := make([]byte, 1); ; {
		if n, err := f.Read(b); n == 0 || err != nil || b[0] == '\n' {
			return strings.TrimSpace(string(line))
		}
		line = append(line, b[0])
	}
}

// TestBundleCheckpoint: by the verbs of the OCI command line, a container that has gone goes on under another name.
func TestBundleCheckpoint(t *testing.T) {
	program := criu(t)
	b := OpenBundles(filepath.Join(t.TempDir(), "state"))
	id, bundle := testBundle(t, "exec </dev/null >/out 2>&1; n=5; echo ready; while ! test -e /go; do sleep 0.1; done; echo $n; exit 4", nil)
	said := func() string {
		text, _ := os.ReadFile(filepath.Join(bundle, "rootfs/out"))
		return string(text)
	}
	o := CheckpointOptions{Criu: program, Images: t.TempDir(), LeaveRunning: true}
	c, err := b.Create(id, CreateOptions{Bundle: bundle})
	if err != nil {
		t.Fatal(err)
	}
	defer destroy(t, c)
	if err := b.Checkpoint(id, o); !errors.Is(err, errdefs.ErrFailedPrecondition) {
		t.Errorf("of a container that was not started: %v", err)
	}
	if err := b.Start(id); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the program", func() bool { return said() == "ready\n" })
	if err := b.Checkpoint(id, o); err != nil {
		t.Fatal(err)
	}
	mustLoad(t, b, id, specs.StateRunning)
	o.LeaveRunning, o.Images = false, t.TempDir()
	if err := b.Checkpoint(id, o); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Load(id); !errors.Is(err, errdefs.ErrNotFound) {
		t.Errorf("after its checkpoint: %v", err)
	}
	o.Work = t.TempDir()
	restored, err := b.Create(id+"-again", CreateOptions{Bundle: bundle, From: &o})
	if err != nil {
		t.Fatal(err)
	}
	defer destroy(t, restored)
	mustLoad(t, b, id+"-again", specs.StateRunning)
	writeFile(t, filepath.Join(bundle, "rootfs/go"), "", 0o644)
	if status, err := restored.Wait(); err != nil || status.Code != 4 || said() != "ready\n5\n" {
		t.Errorf("at its end: %+v, %v, %q", status, err, said())
	}
	if err := b.Delete(id+"-again", false); err != nil {
		t.Error(err)
	}
}
