package sys

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// HungUp tells whether the other end of a connection has gone altogether. An end that has only finished sending still
// listens and has not hung up. What cannot be asked has gone.
func HungUp(conn syscall.Conn) bool {
	control, err := conn.SyscallConn()
	if err != nil {
		return false
	}
	gone := false
	err = control.Control(func(fd uintptr) {
		poll := []unix.PollFd{{Fd: int32(fd)}}
		n, err := unix.Poll(poll, 0)
		gone = err == nil && n > 0 && poll[0].Revents&(unix.POLLHUP|unix.POLLERR) != 0
	})
	return gone || err != nil
}
