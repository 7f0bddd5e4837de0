package runtime

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// A handover is two fifos by which a process waits for whoever starts it: it reads a byte from one and reports to the
// other why it could not become its program. The process has both open for reading and writing, so neither end has to
// be there first, and its report ends when it executes the program or is gone.
type handover struct{ start, report *os.File }

// The fifos' names. The first is there as long as the process waits.
const (
	startFIFO  = "start"
	reportFIFO = "report"
)

func makeHandover(dir string) (*handover, error) {
	var h handover
	for name, into := range map[string]**os.File{startFIFO: &h.start, reportFIFO: &h.report} {
		file := filepath.Join(dir, name)
		err := unix.Mkfifo(file, 0o600)
		if err == nil {
			*into, err = os.OpenFile(file, os.O_RDWR, 0)
		}
		if err != nil {
			closeAll([]*os.File{h.start, h.report})
			return nil, errors.Join(fmt.Errorf("make fifo %s: %w", file, err), removeHandover(dir))
		}
	}
	return &h, nil
}

func removeHandover(dir string) error {
	var all error
	for _, name := range []string{startFIFO, reportFIFO} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			all = errors.Join(all, err)
		}
	}
	return all
}

// isWaiting tells whether the process behind the handover has not been started.
func isWaiting(dir string) bool {
	_, err := os.Lstat(filepath.Join(dir, startFIFO))
	return err == nil
}

// errNobodyWaits is a handover whose process is gone.
var errNobodyWaits = errdefs.ErrFailedPrecondition.WithMessage("cannot start a container that has stopped")

// letStart starts the waiting process and tells why it could not execute its program.
func letStart(dir, program string) error {
	start, err := unix.Open(filepath.Join(dir, startFIFO), unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	switch {
	case errors.Is(err, unix.ENXIO):
		return errNobodyWaits
	case err != nil:
		return fmt.Errorf("open fifo: %w", err)
	}
	defer unix.Close(start)
	report, err := unix.Open(filepath.Join(dir, reportFIFO), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open fifo: %w", err)
	}
	defer unix.Close(report)
	if err := unix.SetNonblock(report, false); err != nil {
		return err
	}
	if _, err := unix.Write(start, []byte{0}); err != nil {
		return fmt.Errorf("start process: %w", err)
	}
	b := make([]byte, recordSize)
	for {
		n, err := unix.Read(report, b)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return fmt.Errorf("read from the container's process: %w", err)
		case n == 0:
			return removeHandover(dir)
		}
		return errors.Join(execError(program, syscall.Errno(binary.NativeEndian.Uint32(b[4:]))), removeHandover(dir))
	}
}
