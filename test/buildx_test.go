package test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// buildx is the path of the stock buildx, built from its module in test/buildx; compose that of the stock compose.
func buildx(t testing.TB) string  { return tool(t, "buildx", "buildx") }
func compose(t testing.TB) string { return tool(t, "compose", "cmd") }

// tool builds a program from the module in its folder, once for all runs: it stays in Go's build cache.
func tool(t testing.TB, folder, name string) string {
	t.Helper()
	if testing.Short() {
		t.Skip("builds " + folder + ", which takes minutes the first time")
	}
	build := exec.Command("go", "tool", "-n", name)
	build.Dir = folder
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off")
	path, err := build.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w: %s", err, exit.Stderr)
		}
		t.Fatalf("build %s: %v", folder, err)
	}
	return string(path[:len(path)-1])
}

// plugins makes a configuration folder of the docker client ($DOCKER_CONFIG) that has these programs as its plugins.
func plugins(t testing.TB, programs map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "cli-plugins"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, path := range programs {
		if err := os.Symlink(path, filepath.Join(dir, "cli-plugins", "docker-"+name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
