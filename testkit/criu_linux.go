package testkit

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// WorkingCriu tells why there is no criu that can keep and restore a process on this kernel, by having it do so: what
// versions and features say about that is not enough. Nothing of this project takes part, so that none of its faults is
// taken for criu's.
var WorkingCriu = sync.OnceValue(func() error {
	criu, err := exec.LookPath("criu")
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "cove-criu-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	p := exec.Command("setsid", "sleep", "1000")
	if err := p.Start(); err != nil {
		return err
	}
	pid := p.Process.Pid
	do := func(args ...string) error {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second) // where breakpoints do not work it waits for ever
		defer cancel()
		out, err := exec.CommandContext(ctx, criu, append(args, "--images-dir", dir)...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("criu %s: %w: %s", args[0], err, out)
		}
		return nil
	}
	err = do("dump", "--tree", strconv.Itoa(pid))
	if err != nil {
		p.Process.Kill()
	}
	p.Wait() // criu has ended what it keeps
	if err != nil {
		return err
	}
	if err := do("restore", "--restore-detached"); err != nil {
		return err
	}
	return syscall.Kill(pid, syscall.SIGKILL) // nobody's child, with the number it had
})
