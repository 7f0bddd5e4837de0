package runtime

import (
	"os"
	"os/exec"
	"syscall"
	"testing"
)

// inOwnMounts runs the calling test again in a mount namespace of its own, where it may mount what it likes; there it
// gives true.
func inOwnMounts(t *testing.T) bool {
	t.Helper()
	if os.Getenv("COVE_OWN_MOUNTS") != "" {
		return true
	}
	needRoot(t)
	busybox(t)
	cmd := exec.Command("/proc/self/exe", "-test.run", "^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), "COVE_OWN_MOUNTS=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return false
}
