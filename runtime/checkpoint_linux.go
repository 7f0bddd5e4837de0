package runtime

import (
	"errors"
	"os"
	"strconv"
	"sync"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/cove-containers/cove/runtime/checkpoint"
)

// CheckpointOptions says what is kept of a container, or restored, and how.
type CheckpointOptions = checkpoint.Options

// HasCheckpoint tells whether a folder has a whole checkpoint.
func HasCheckpoint(images string) bool { return checkpoint.Exists(images) }

// Checkpoint keeps the container's state. Where that fails, it goes on.
func (c *Container) Checkpoint(o CheckpointOptions) error {
	return checkpoint.Dump(checkpoint.Source{Pid: c.pid, Own: c.own, Streams: c.streams}, o)
}

func streamsOf(files [3]*os.File) [3]string {
	return checkpoint.Streams("self", int(files[0].Fd()), int(files[1].Fd()), int(files[2].Fd()))
}

// Restore makes a container and in it, in place of the program, the processes of a checkpoint. They go on at once.
func Restore(cfg Config, io IO, o CheckpointOptions) (*Container, error) {
	c, err := Create(cfg, io)
	if err != nil {
		return nil, err
	}
	entry, err := c.cgroup.Entry()
	if err == nil {
		defer entry.Close()
		var pid int
		if pid, err = checkpoint.Restore(checkpoint.Place{
			Pid: c.pid, Mounts: c.mounts, Streams: [3]*os.File{io.Stdin, io.Stdout, io.Stderr}, Enter: entry.Admit, Leave: c.end,
		}, o); err == nil {
			err = c.become(pid)
		}
	}
	if err == nil && cfg.Handover != "" {
		err = removeHandover(cfg.Handover) // nobody has to start it
	}
	if err != nil {
		return nil, errors.Join(err, c.Destroy())
	}
	return c, nil
}

// become takes another process for the container's first one, which has ended.
func (c *Container) become(pid int) error {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return err
	}
	c.mounts.Close()
	c.pid, c.pidfd, c.program = pid, os.NewFile(uintptr(fd), "pidfd"), nil
	c.waited, c.gone = sync.Once{}, false
	c.mounts, err = os.Open("/proc/" + strconv.Itoa(pid) + "/ns/mnt")
	return err
}

// Checkpoint keeps a container's state. Unless it is to go on, it ends by that and is deleted.
func (b *Bundles) Checkpoint(id string, o CheckpointOptions) error {
	r, err := b.Load(id)
	if err != nil {
		return err
	}
	if r.Status != specs.StateRunning {
		return errdefs.ErrFailedPrecondition.WithMessage("cannot checkpoint a container that is " + string(r.Status))
	}
	s := checkpoint.Source{Pid: r.Pid, Own: checkpoint.Own(r.Spec.Mounts), Streams: checkpoint.Streams(strconv.Itoa(r.Pid), 0, 1, 2)}
	if err := checkpoint.Dump(s, o); err != nil || o.LeaveRunning {
		return err
	}
	return b.Delete(id, true)
}
