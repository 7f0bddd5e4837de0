package sys

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// Watch tells when files in one folder change.
type Watch struct {
	events *os.File
	wake   chan struct{}
}

// WatchFolder begins to watch: a write to a file in the folder, a new file and a renamed one give a signal on Changed.
// Several changes may give one signal; none is without one after it.
func WatchFolder(folder string) (*Watch, error) {
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", folder, err)
	}
	if _, err := unix.InotifyAddWatch(fd, folder, unix.IN_MODIFY|unix.IN_CREATE|unix.IN_MOVED_TO|unix.IN_ONLYDIR); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("watch %s: %w", folder, err)
	}
	w := &Watch{events: os.NewFile(uintptr(fd), "inotify "+strconv.Itoa(fd)), wake: make(chan struct{}, 1)}
	go w.read()
	return w, nil
}

// read ends when Close closes the file under it.
func (w *Watch) read() {
	buf := make([]byte, 4096)
	for {
		if _, err := w.events.Read(buf); err != nil {
			return
		}
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
}

// Changed gives the signals.
func (w *Watch) Changed() <-chan struct{} { return w.wake }

// Close ends the watch.
func (w *Watch) Close() error { return w.events.Close() }
