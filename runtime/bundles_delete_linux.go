package runtime

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/cove-containers/cove/runtime/hook"
	"github.com/cove-containers/cove/sys"
)

// endPatience is how long a killed process may take to end.
const endPatience = 10 * time.Second

// Delete removes a stopped or never started container; with force any, also one that does not exist.
func (b *Bundles) Delete(id string, force bool) error {
	r, err := b.Load(id)
	if err != nil {
		if force && errors.Is(err, errdefs.ErrNotFound) {
			// What a failed creation may have left.
			return os.RemoveAll(b.dir(id))
		}
		return err
	}
	if !force && r.Status != specs.StateStopped && r.Status != specs.StateCreated {
		return errdefs.ErrFailedPrecondition.WithMessage(fmt.Sprintf("cannot delete container %s that is not stopped: %s", id, r.Status))
	}
	if r.Status != specs.StateStopped {
		if err := r.end(); err != nil {
			return err
		}
	}
	g, err := OpenCgroup(r.Cgroup)
	if err == nil {
		err = errors.Join(g.KillAll(), g.Remove())
	}
	if err != nil && !errors.Is(err, errdefs.ErrNotFound) {
		return err
	}
	if r.Mounted != "" {
		if err := unmountRoot(r.Mounted); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("unmount %s: %w", r.Mounted, err)
		}
	}
	if h := r.Spec.Hooks; h != nil {
		r.Status = specs.StateStopped
		err = hook.Run("poststop", h.Poststop, r.State)
	} else {
		err = nil
	}
	return errors.Join(os.RemoveAll(b.dir(id)), err)
}

// end kills the container's first process and waits for its end; it is some other process's child.
func (r *Record) end() error {
	c, err := r.open()
	if err != nil {
		return nil // it has ended by itself
	}
	defer c.pidfd.Close()
	if err := c.Kill(unix.SIGKILL); err != nil && !errors.Is(err, errdefs.ErrNotFound) {
		return err
	}
	if g, err := OpenCgroup(r.Cgroup); err == nil {
		if err := g.Thaw(); err != nil && !errors.Is(err, errdefs.ErrNotImplemented) {
			return err
		}
	}
	for deadline := time.Now().Add(endPatience); ; time.Sleep(time.Millisecond) {
		if began, err := processBegan(r.Pid); err != nil || began != r.Began {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("process %d does not end: %w", r.Pid, os.ErrDeadlineExceeded)
		}
	}
}

// announce tells the caller of a verb the new process's number and gives its terminal away.
func announce(p *Process, consoleSocket, pidFile string) error {
	if consoleSocket != "" {
		if err := sendConsole(p.console, consoleSocket); err != nil {
			return fmt.Errorf("send terminal to %s: %w", consoleSocket, err)
		}
	}
	if pidFile == "" {
		return nil
	}
	if err := writeWhole(pidFile, []byte(strconv.Itoa(p.pid))); err != nil {
		return fmt.Errorf("write pid file: %w", err)
	}
	return nil
}

// sendConsole passes a terminal's master over a Unix socket, in blocking mode as its receivers expect it.
func sendConsole(console *os.File, socket string) error {
	dir, name := filepath.Split(socket)
	if dir == "" {
		dir = "."
	}
	s, err := sys.ConnectSocket(context.Background(), dir, name)
	if err != nil {
		return err
	}
	defer s.Close()
	blocking := console.Fd() // sets the mode
	if err := unix.SetNonblock(int(blocking), false); err != nil {
		return err
	}
	return s.WriteFile([]byte("/dev/ptmx"), console)
}
