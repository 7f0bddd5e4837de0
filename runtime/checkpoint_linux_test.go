package runtime

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cove-containers/cove/runtime/checkpoint"
)

// criu finds a criu that can keep and restore a process on this kernel, by trying.
func criu(t *testing.T) string {
	t.Helper()
	needRoot(t)
	program, err := exec.LookPath("criu")
	if err != nil {
		t.Skip("needs criu: ", err)
	}
	dir := t.TempDir()
	p := exec.Command("setsid", "sleep", "1000")
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = p.Process.Kill()
		_ = p.Wait()
	}()
	o := CheckpointOptions{Criu: program, Images: dir, LeaveRunning: true}
	if err := checkpoint.Dump(checkpoint.Source{Pid: p.Process.Pid}, o); err != nil {
		t.Skip("needs a criu that works on this kernel: ", err)
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
	in, out := startPiped(t, cfg, func(c Config, s IO) (*Container, error) { return Create(c, s) }, func(c *Container, _ *os.File, out *os.File) {
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
	_, _ = in, out
	startPiped(t, cfg, func(c Config, s IO) (*Container, error) {
		return Restore(c, s, CheckpointOptions{Criu: program, Images: images, Work: t.TempDir()})
	}, func(c *Container, in *os.File, out *os.File) {
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
}

func startPiped(t *testing.T, cfg Config, make func(Config, IO) (*Container, error), use func(c *Container, in, out *os.File)) (in, out *os.File) {
	t.Helper()
	inR, inW, _ := os.Pipe()
	outR, outW, _ := os.Pipe()
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
	return inW, outR
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
