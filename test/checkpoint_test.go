package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestCheckpointsRefused: what cannot be kept or restored is said, whoever's fault it is; the container goes on, and nothing
// is left. This criu can do nothing.
func TestCheckpointsRefused(t *testing.T) {
	needRoot(t)
	images(t)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "criu"), []byte("#!/bin/sh\nexit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	e := newEngine(t)
	e.Start()
	e.Load("busybox")
	e.Run("cove", "run", "-d", "--name", "c", "busybox", "sleep", "1000")
	e.Run("cove", "run", "-dt", "--name", "tty", "busybox", "sleep", "1000")
	e.Run("cove", "create", "--name", "new", "busybox", "sleep", "1000")
	e.Run("cove", "run", "-d", "--name", "frozen", "busybox", "sleep", "1000")
	e.Run("cove", "pause", "frozen")
	for _, client := range []string{"cove", "docker"} {
		if _, err := exec.LookPath(client); err != nil && client == "docker" {
			t.Log("the stock docker client is not installed: with cove only")
			continue
		}
		for command, want := range map[string]string{
			"checkpoint create c one":      "cannot checkpoint container c: criu ended without an answer",
			"checkpoint create c ../one":   "Invalid checkpoint ID (../one), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed",
			"checkpoint create new one":    "not running",
			"checkpoint create frozen one": "is paused",
			"checkpoint create tty one":    "checkpoint not support on containers with tty",
			"checkpoint create nobody one": "No such container: nobody",
			"checkpoint rm c one":          "checkpoint one does not exist for container c",
			"checkpoint ls nobody":         "No such container: nobody",
			"start --checkpoint one new":   "checkpoint one does not exist for container new",
			"start --checkpoint .. new":    "Invalid checkpoint ID (..)",
		} {
			out, said, code := e.Try(append([]string{client}, strings.Fields(command)...)...)
			if code != 1 || !strings.Contains(said, want) {
				t.Errorf("%s %s: status %d, %s%s, want %q", client, command, code, out, said, want)
			}
		}
	}
	if out := e.Run("cove", "exec", "c", "echo", "on"); out != "on" {
		t.Errorf("after it could not be kept: %q", out)
	}
	if out := e.Run("cove", "inspect", "-f", "{{.State.Status}} {{.State.Error}}", "new"); out != "created" {
		t.Errorf("after it could not be restored: %q", out)
	}
	left, err := filepath.Glob(filepath.Join(e.DataRoot, "containers", "*", "checkpoints", "*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %q, %v", left, err)
	}
}
