package sys

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// Unsent is how many bytes written to a stream socket the other end has not acknowledged (TCP) or read (Unix), by
// SIOCOUTQ: see tcp(7), unix(7). One whose other end has hung up is syscall.EPIPE.
func Unsent(c syscall.RawConn) (n int, err error) {
	failed := c.Control(func(fd uintptr) {
		if n, err = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ); err != nil {
			return
		}
		watched := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
		if _, failed := unix.Poll(watched, 0); failed == nil && watched[0].Revents != 0 {
			err = unix.EPIPE
		}
	})
	if failed != nil {
		return 0, failed
	}
	return n, err
}
