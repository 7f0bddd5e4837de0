package runtime

import (
	"os"
	"os/exec"
	"syscall"
	"testing"
)

// inOwnMounts runs the calling test again in a mount namespace of its own, where it may mount what it likes.
func inOwnMounts(t *testing.T) {
	t.Helper()
	needRoot(t)
	busybox(t)
	cmd := exec.Command("/proc/self/exe", "-test.run", "^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), "COVE_OWN_MOUNTS=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}
