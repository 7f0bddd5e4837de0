package sys

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// interfaceRequest is struct ifreq with the flags filled in.
type interfaceRequest struct {
	name  [unix.IFNAMSIZ]byte
	flags uint16
	_     [22]byte
}

// RaiseLoopback brings up the only interface that the calling thread's network namespace has when it is new.
func RaiseLoopback() error {
	if err := raise("lo"); err != nil {
		return fmt.Errorf("set up loopback interface: %w", err)
	}
	return nil
}

func raise(name string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	r := interfaceRequest{flags: unix.IFF_UP}
	copy(r.name[:], name)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCSIFFLAGS, uintptr(unsafe.Pointer(&r))); errno != 0 {
		return errno
	}
	return nil
}
