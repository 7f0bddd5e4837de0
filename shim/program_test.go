package shim

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// TestProgramIsOutOfReach: a script whose interpreter is /proc/self/exe makes a process in a container run the
// supervisor's program, and another one can keep that open. It must not be writable, even once nobody runs it.
func TestProgramIsOutOfReach(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: makes mounts")
	}
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(t.TempDir(), "cove-runtime") // one that nobody else runs
	if err := os.WriteFile(program, self, 0o755); err != nil {
		t.Fatal(err)
	}
	b, err := boot(t.TempDir(), program, verbShim, smallEnv())
	if err != nil {
		t.Fatal(err)
	}
	kept, err := os.Open(fmt.Sprintf("/proc/%d/exe", b.process.Pid))
	b.end()
	if err != nil {
		t.Fatal(err)
	}
	defer kept.Close()
	f, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", kept.Fd()), os.O_WRONLY, 0)
	if !errors.Is(err, syscall.EROFS) {
		t.Errorf("open for writing: %v, %v", f, err)
	}
}
