package test

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// debian makes the archive of a Debian image once, beside the programs under test.
var debian = sync.OnceValues(func() (string, error) {
	bin, err := binaries()
	if err != nil {
		return "", err
	}
	archive := filepath.Join(bin, "debian.tar")
	if out, err := exec.Command("../scripts/debian-image", archive).CombinedOutput(); err != nil {
		return "", fmt.Errorf("make the image: %w\n%s", err, out)
	}
	return archive, nil
})

// debianImage is the archive of a Debian image, "debian:base", or skips.
func debianImage(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("debootstrap"); err != nil {
		t.Skip("needs debootstrap to make a Debian image")
	}
	archive, err := debian()
	if err != nil {
		t.Fatal(err)
	}
	return archive
}

// TestDebianInstallsAPackage loads a Debian image made by debootstrap, runs it, and lets apt install a package inside.
func TestDebianInstallsAPackage(t *testing.T) {
	t.Parallel()
	needRoot(t)
	archive := debianImage(t)
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
