package testkit

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// SmallDisk gives a folder on a file system of its own of so many megabytes, seen by this process: a loop device would need one
// free. It is gone with the test, which must hold nothing open there by then.
func SmallDisk(t *testing.T, megabytes string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: mounts")
	}
	at := filepath.Join(t.TempDir(), "small")
	if err := os.Mkdir(at, 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size="+megabytes+"m", "small", at).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", at).CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	})
	sub := filepath.Join(at, "root")
	if err := os.Mkdir(sub, 0o755); err != nil {
		t.Fatal(err)
	}
	return sub
}
