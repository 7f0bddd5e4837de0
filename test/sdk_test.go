package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestSDKs runs a session of each library that programs use Docker through, each as it is published: the Go client of
// three ages, Testcontainers for Go, and the Python one as Debian ships it.
func TestSDKs(t *testing.T) {
	needRoot(t)
	images(t)
	for name, shared := range map[string][]string{
		"go20": {"common", "docker"}, "go24": {"common", "docker"}, "now": {"common"}, "testcontainers": {"common"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			for _, part := range append(shared, name) {
				if err := os.CopyFS(dir, os.DirFS(filepath.Join("testdata", "sdk", part))); err != nil {
					t.Fatal(err)
				}
			}
			program := filepath.Join(dir, "program")
			build := exec.Command("go", "build", "-o", program, ".")
			build.Dir = dir
			if out, err := build.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			session(t, program)
		})
	}
	t.Run("python", func(t *testing.T) {
		t.Parallel()
		const python = "/usr/bin/python3"
		if err := exec.Command(python, "-c", "import docker").Run(); err != nil {
			t.Skip("python3-docker is not installed")
		}
		session(t, python, "testdata/sdk/session.py")
	})
}

// session runs a program against an engine of its own; its last words say that all went well.
func session(t *testing.T, args ...string) {
	e := newEngine(t)
	e.Start()
	e.Load("busybox")
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), "DOCKER_HOST="+e.Socket(), "SUBNET="+e.Subnet+".0/24", "TESTCONTAINERS_RYUK_DISABLED=true")
	if out, err := cmd.CombinedOutput(); err != nil || !strings.HasSuffix(string(out), "is well\n") {
		t.Errorf("%v\n%s", err, out)
	}
}
