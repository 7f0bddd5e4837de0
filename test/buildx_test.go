package test

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
)

// buildx is the path of the stock buildx, built from its module in test/buildx; compose that of the stock compose.
func buildx(t testing.TB) string {
	return program(t, "buildx", "github.com/docker/buildx", "cmd/buildx", "github.com/docker/buildx/version.Version")
}

// docker28 and docker29 are stock docker clients. An installed one of the same kind saves building it.
func docker28(t testing.TB) string {
	if path, err := exec.LookPath("docker"); err == nil {
		if out, err := exec.Command(path, "--version").Output(); err == nil && strings.Contains(string(out), "version 28.2.") {
			return path
		}
	}
	return program(t, "docker28", "github.com/docker/cli", "cmd/docker", "github.com/docker/cli/cli/version.Version")
}

func docker29(t testing.TB) string {
	// Without a go.mod the module counts as written in an old Go; its own build says which one it wants.
	return program(t, "docker29", "github.com/docker/cli", "cmd/docker", "github.com/docker/cli/cli/version.Version",
		"-gcflags=github.com/docker/cli/cmd/docker=-lang=go1.26")
}

func compose(t testing.TB) string {
	return program(t, "compose", "github.com/docker/compose/v5", "cmd", "github.com/docker/compose/v5/internal.Version")
}

// program builds a program from the module in its folder and keeps it in the user's cache, by its version: others' tests
// take minutes the first time, and seconds to link every time. The variable tells the program its version, which other
// programs ask for.
func program(t testing.TB, folder, module, main, variable string, flags ...string) string {
	t.Helper()
	return kept(t, folder, module, func(version, made string) *exec.Cmd {
		args := append([]string{"build", "-ldflags", "-s -w -X " + variable + "=" + strings.TrimSuffix(version, "+incompatible"), "-o", made}, flags...)
		return exec.Command("go", append(args, module+"/"+main)...)
	})
}

// kept gives what is built from the module in folder, from the user's cache where it is there already.
func kept(t testing.TB, folder, module string, build func(version, made string) *exec.Cmd) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(folder, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^(?:require)?\s*` + regexp.QuoteMeta(module) + ` (v\S+)`).FindSubmatch(text)
	if found == nil {
		t.Fatalf("%s/go.mod does not say which %s", folder, module)
	}
	version := string(found[1])
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(cache, "cove-tests", folder+"-"+version+"-"+runtime.Version()+"-"+runtime.GOARCH)
	if _, err := os.Stat(path); err == nil {
		return path
	}
	if testing.Short() {
		t.Skip("builds " + folder + ", which takes minutes")
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp(filepath.Dir(path), "making-") // another test process may be at it
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	made := filepath.Join(dir, "program")
	cmd := build(version, made)
	cmd.Dir = folder
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", folder, err, out)
	}
	if err := os.Rename(made, path); err != nil && !errors.Is(err, fs.ErrExist) {
		t.Fatal(err)
	}
	return path
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
