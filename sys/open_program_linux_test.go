package sys

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestProtectProgram runs a copy of this test's program, which protects itself, and tries to write to it.
func TestProtectProgram(t *testing.T) {
	const inside = "SYS_TEST_PROTECT_PROGRAM"
	if os.Getenv(inside) != "" {
		if err := ProtectProgram(); err != nil {
			t.Fatal(err)
		}
		fmt.Println("\nready")
		_, _ = os.Stdin.Read(make([]byte, 1))
		return
	}
	if os.Getuid() != 0 {
		t.Skip("needs root: makes mounts")
	}
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(program, self, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "-test.run=^TestProtectProgram$")
	cmd.Env = append(os.Environ(), inside+"=1")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() && lines.Text() != "ready" {
	}
	kept, err := os.Open(fmt.Sprintf("/proc/%d/exe", cmd.Process.Pid))
	in.Close()
	if waitErr := cmd.Wait(); err != nil || waitErr != nil {
		t.Fatal(err, waitErr)
	}
	defer kept.Close()
	if f, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", kept.Fd()), os.O_WRONLY, 0); !errors.Is(err, unix.EROFS) {
		t.Errorf("open for writing: %v, %v", f, err)
	}
}

func TestReopen(t *testing.T) {
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	found, err := os.OpenFile(name, unix.O_PATH, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer found.Close()
	if err := os.Rename(name, name+"2"); err != nil {
		t.Fatal(err)
	}
	f, err := Reopen(found, os.O_RDONLY)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 8)
	if n, err := f.Read(b); string(b[:n]) != "text" || err != nil {
		t.Errorf("read %q, %v", b[:n], err)
	}
}
