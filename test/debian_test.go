package test

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestDebianInstallsAPackage loads a Debian image made by debootstrap, runs it, and lets apt install a package inside.
func TestDebianInstallsAPackage(t *testing.T) {
	needRoot(t)
	if _, err := exec.LookPath("debootstrap"); err != nil {
		t.Skip("needs debootstrap to make a Debian image")
	}
	archive := filepath.Join(t.TempDir(), "debian.tar")
	if out, err := exec.Command("../scripts/debian-image", archive).CombinedOutput(); err != nil {
		t.Fatalf("make the image: %v\n%s", err, out)
	}
	e := newEngine(t)
	e.Start()
	if got := e.Run("cove", "load", "-i", archive); !strings.Contains(got, "Loaded image: debian:base") {
		t.Errorf("load: %q", got)
	}
	e.Run("cove", "run", "-d", "--name", "d", "debian:base", "sleep", "1000")
	e.Run("cove", "exec", "d", "apt-get", "update", "-q")
	e.Run("cove", "exec", "-e", "DEBIAN_FRONTEND=noninteractive", "d", "apt-get", "install", "-y", "-q", "--no-install-recommends", "hello")
	if got := e.Run("cove", "exec", "d", "hello"); got != "Hello, world!" {
		t.Errorf("the installed program printed %q", got)
	}
	if got := e.Run("cove", "diff", "d"); !strings.Contains(got, "A /usr/bin/hello\n") {
		t.Errorf("diff does not show the new program:\n%s", got)
	}
}
