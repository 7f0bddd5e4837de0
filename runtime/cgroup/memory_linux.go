package cgroup

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// MemoryWatch sees when the processes of a group find no more memory within its limit.
type MemoryWatch struct {
	group *Cgroup
	// signal becomes readable when there may be news: an eventfd of the older hierarchy, or an epoll set with events in it.
	signal *os.File
	// events is memory.events, which has to be read for the kernel to tell of the next change; nil with the older hierarchy.
	events *os.File
	kills  uint64
}

// WatchMemory begins to watch. Whoever has done so must Close the watch.
func (c *Cgroup) WatchMemory() (*MemoryWatch, error) {
	w := &MemoryWatch{group: c}
	start := w.watchOld
	if c.host.unified {
		start = w.watchUnified
	}
	if err := start(); err != nil {
		return nil, fmt.Errorf("watch the memory of cgroup %s: %w", c.path, errors.Join(err, w.Close()))
	}
	return w, nil
}

func (w *MemoryWatch) watchOld() error {
	dir := w.group.dir("memory")
	control, err := os.Open(dir + "/memory.oom_control")
	if err != nil {
		return err
	}
	defer control.Close() // the kernel needs it for the moment of the registration only
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return err
	}
	w.signal = os.NewFile(uintptr(fd), "eventfd")
	return write(dir, "cgroup.event_control", fmt.Sprintf("%d %d", fd, control.Fd()))
}

func (w *MemoryWatch) watchUnified() error {
	var err error
	if w.events, err = os.Open(w.group.dir("memory") + "/memory.events"); err != nil {
		return err
	}
	set, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return err
	}
	if err := unix.SetNonblock(set, true); err != nil { // so that it can be waited for without a thread
		return errors.Join(err, unix.Close(set))
	}
	w.signal = os.NewFile(uintptr(set), "epoll")
	if err := unix.EpollCtl(set, unix.EPOLL_CTL_ADD, int(w.events.Fd()), &unix.EpollEvent{Events: unix.EPOLLPRI}); err != nil {
		return err
	}
	w.kills, err = w.readKills()
	return err
}

// Wait returns when it has happened once more. An error tells that the group or the watch is no more.
func (w *MemoryWatch) Wait() error {
	if w.events == nil {
		if _, err := w.signal.Read(make([]byte, 8)); err != nil {
			return err
		}
		_, err := os.Stat(w.group.dir("memory")) // its removal is told as well
		return err
	}
	raw, err := w.signal.SyscallConn()
	if err != nil {
		return err
	}
	for {
		before := w.kills
		ready := func(set uintptr) bool {
			n, err := unix.EpollWait(int(set), make([]unix.EpollEvent, 1), 0)
			return n > 0 || err != nil && err != unix.EINTR
		}
		if err := raw.Read(ready); err != nil {
			return err
		}
		if w.kills, err = w.readKills(); err != nil || w.kills > before {
			return err
		}
	}
}

func (w *MemoryWatch) readKills() (uint64, error) {
	b := make([]byte, 4096)
	n, err := w.events.ReadAt(b, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, err
	}
	return parseTable(string(b[:n]))["oom_kill"], nil
}

// Close ends the watch and whoever waits.
func (w *MemoryWatch) Close() error {
	var all []error
	for _, f := range []*os.File{w.signal, w.events} {
		if f != nil {
			all = append(all, f.Close())
		}
	}
	return errors.Join(all...)
}
