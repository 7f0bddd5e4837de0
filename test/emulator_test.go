package test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// emulator has the kernel run programs for arm64 by Debian's qemu-user-static until off is called or the test ends. The
// registration is one of the test's own: it lives in a mount that is in no mount table but that of one process, and is
// gone with that process however it ends, unless the host has binfmt_misc mounted itself.
func emulator(t *testing.T) (off func()) {
	t.Helper()
	const program = "qemu-aarch64-static"
	path, err := exec.LookPath(program)
	if err != nil {
		t.Skipf("%s is not installed (Debian's qemu-user-static)", program)
	}
	if known, err := os.ReadFile("/proc/filesystems"); err != nil || !bytes.Contains(known, []byte("binfmt_misc")) {
		t.Skip("this kernel has no binfmt_misc")
	}
	name := fmt.Sprintf("cove-test-%d", os.Getpid())
	// Flag F has the kernel open the program now, so that containers need not have it.
	line := `:` + name + `:M::\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00:\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:` + path + `:POCF`
	const script = `set -e; at=/proc/sys/fs/binfmt_misc; mount -t binfmt_misc binfmt_misc $at; printf %s "$2" >$at/register; echo ready; read end || true; echo -1 >$at/$1`
	cmd := exec.Command("unshare", "-m", "sh", "-c", script, "sh", name, line)
	hold, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var said lockedBuffer
	cmd.Stderr = &said
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ready := make([]byte, len("ready\n"))
	_, err = io.ReadFull(out, ready)
	done := false
	off = func() {
		if done {
			return
		}
		done = true
		hold.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("unregister the emulator: %v: %s", err, said.String())
		}
	}
	if err != nil {
		hold.Close()
		_ = cmd.Wait()
		t.Fatalf("register an emulator: %s", said.String())
	}
	t.Cleanup(off)
	return off
}

// runsARM tells whether the host runs programs for arm64 without the test's doing.
func runsARM(t *testing.T) bool {
	t.Helper()
	out, _ := exec.Command("unshare", "-m", "sh", "-c", "cd /proc/sys/fs/binfmt_misc && { [ -e status ] || mount -t binfmt_misc binfmt_misc .; } && cat ./*").Output()
	return strings.Contains(string(out), "02000000000000000000000200b700") || strings.Contains(string(out), "0200b7")
}
