package sys

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Socket is a connected Unix stream socket. It is what net.UnixConn is, without what package net costs a small process
// in memory.
type Socket struct {
	file *os.File
	raw  syscall.RawConn
}

// NewSocket takes over a descriptor, for instance one that was inherited.
func NewSocket(fd int) (*Socket, error) {
	unix.CloseOnExec(fd)
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, fmt.Errorf("take socket: %w", err)
	}
	file := os.NewFile(uintptr(fd), "socket")
	if file == nil {
		return nil, fmt.Errorf("take socket: %w", unix.EBADF)
	}
	raw, err := file.SyscallConn()
	if err != nil {
		return nil, err
	}
	return &Socket{file: file, raw: raw}, nil
}

// SocketPair gives two connected ends; theirs is for a child process and is closed by the caller once it has it.
func SocketPair() (ours *Socket, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make socket pair: %w", err)
	}
	theirs = os.NewFile(uintptr(fds[1]), "socket pair")
	if ours, err = NewSocket(fds[0]); err != nil {
		_ = theirs.Close()
		return nil, nil, err
	}
	return ours, theirs, nil
}

// address gives the address of a socket in a folder, short whatever the folder's own path is. It holds while the
// descriptor is open.
func address(folder, name string) (at *unix.SockaddrUnix, fd int, err error) {
	fd, err = unix.Open(folder, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, -1, &os.PathError{Op: "open", Path: folder, Err: err}
	}
	return &unix.SockaddrUnix{Name: "/proc/self/fd/" + strconv.Itoa(fd) + "/" + name}, fd, nil
}

// connectPause is waited when the listener's queue is full.
const connectPause = 2 * time.Millisecond

// ConnectSocket connects to the socket called name in a folder. The folder's path may be longer than a socket address.
func ConnectSocket(ctx context.Context, folder, name string) (*Socket, error) {
	at, dir, err := address(folder, name)
	if err != nil {
		return nil, err
	}
	defer unix.Close(dir)
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("make socket: %w", err)
	}
	for {
		err := unix.Connect(fd, at)
		if err == nil {
			return NewSocket(fd)
		}
		if err == unix.EAGAIN && ctx.Err() == nil {
			time.Sleep(connectPause)
			continue
		}
		_ = unix.Close(fd)
		return nil, fmt.Errorf("connect to %s/%s: %w", folder, name, err)
	}
}

// Read reads bytes; it ends with io.EOF when the other end is closed.
func (s *Socket) Read(p []byte) (int, error) { return s.file.Read(p) }

// Write writes all of p, waiting as long as the other end does not read.
func (s *Socket) Write(p []byte) (int, error) { return s.file.Write(p) }

// Close closes the socket; a Read or Write that waits returns.
func (s *Socket) Close() error { return s.file.Close() }

// SetDeadline bounds reads and writes.
func (s *Socket) SetDeadline(t time.Time) error { return s.file.SetDeadline(t) }

// CloseWrite lets the other end read to the end; reading goes on.
func (s *Socket) CloseWrite() error {
	var failed error
	err := s.raw.Control(func(fd uintptr) { failed = unix.Shutdown(int(fd), unix.SHUT_WR) })
	return errors.Join(err, failed)
}

// WriteFile writes all of p and passes an open file along with its first byte.
func (s *Socket) WriteFile(p []byte, file *os.File) error {
	if file == nil {
		_, err := s.Write(p)
		return err
	}
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var n int
	var failed error
	err = raw.Control(func(passed uintptr) {
		rights := unix.UnixRights(int(passed))
		waited := s.raw.Write(func(fd uintptr) bool {
			n, failed = unix.SendmsgN(int(fd), p, rights, nil, unix.MSG_NOSIGNAL)
			return failed != unix.EAGAIN
		})
		failed = errors.Join(failed, waited)
	})
	if err = errors.Join(err, failed); err != nil {
		return fmt.Errorf("send file: %w", err)
	}
	if n == len(p) {
		return nil // even an empty write fails once the receiver has what it wanted and closed
	}
	_, err = s.Write(p[n:])
	return err
}

// ReadFile reads bytes as Read does, and takes the file that was passed with them, if one was.
func (s *Socket) ReadFile(p []byte) (int, *os.File, error) {
	var n, oobn int
	var failed error
	oob := make([]byte, unix.CmsgSpace(4))
	err := s.raw.Read(func(fd uintptr) bool {
		n, oobn, _, _, failed = unix.Recvmsg(int(fd), p, oob, unix.MSG_CMSG_CLOEXEC)
		return failed != unix.EAGAIN && failed != unix.EINTR
	})
	if err = errors.Join(err, failed); err != nil {
		return 0, nil, err
	}
	file, err := passedFile(oob[:oobn])
	if n == 0 && file == nil && err == nil && len(p) > 0 {
		return 0, nil, io.EOF
	}
	return n, file, err
}

func passedFile(oob []byte) (*os.File, error) {
	if len(oob) == 0 {
		return nil, nil
	}
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, fmt.Errorf("receive file: %w", err)
	}
	for i := range messages {
		if fds, err := unix.ParseUnixRights(&messages[i]); err == nil && len(fds) == 1 {
			return os.NewFile(uintptr(fds[0]), "passed file"), nil
		}
	}
	return nil, nil
}

// SocketListener accepts connections.
type SocketListener struct{ socket *Socket }

// ListenSocket makes a socket called name in a folder, open to its owner only, in place of an old one.
func ListenSocket(folder, name string) (*SocketListener, error) {
	at, dir, err := address(folder, name)
	if err != nil {
		return nil, err
	}
	defer unix.Close(dir)
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("make socket: %w", err)
	}
	_ = unix.Unlink(at.Name)
	err = unix.Bind(fd, at)
	if err == nil {
		err = unix.Chmod(at.Name, 0o600)
	}
	if err == nil {
		err = unix.Listen(fd, 128)
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("listen on %s/%s: %w", folder, name, err)
	}
	s, err := NewSocket(fd)
	if err != nil {
		return nil, err
	}
	return &SocketListener{s}, nil
}

// Accept waits for the next connection.
func (l *SocketListener) Accept() (*Socket, error) {
	var conn int
	var failed error
	err := l.socket.raw.Read(func(fd uintptr) bool {
		conn, _, failed = unix.Accept4(int(fd), unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
		return failed != unix.EAGAIN && failed != unix.EINTR && failed != unix.ECONNABORTED
	})
	if err = errors.Join(err, failed); err != nil {
		return nil, err
	}
	return NewSocket(conn)
}

// Close ends Accept.
func (l *SocketListener) Close() error { return l.socket.Close() }
