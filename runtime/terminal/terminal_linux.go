// Package terminal connects the terminal a program is used at with that of a process in a container.
package terminal

import (
	"fmt"
	"io"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

// Connect passes keys on as they are typed, copies both ways, and calls resize with the window's size, now and when it
// changes. The function it returns ends that once all output has been copied.
func Connect(own, console *os.File, resize func(width, height uint16) error) (restore func(), err error) {
	fd := int(own.Fd())
	before, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return nil, fmt.Errorf("standard input is not a terminal: %w", err)
	}
	raw := *before
	raw.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
	raw.Oflag &^= unix.OPOST
	raw.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	raw.Cflag = raw.Cflag&^(unix.CSIZE|unix.PARENB) | unix.CS8
	raw.Cc[unix.VMIN], raw.Cc[unix.VTIME] = 1, 0
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, &raw); err != nil {
		return nil, fmt.Errorf("set terminal mode: %w", err)
	}
	follow := func() {
		if size, err := unix.IoctlGetWinsize(fd, unix.TIOCGWINSZ); err == nil {
			_ = resize(size.Col, size.Row) // of a process that has just ended
		}
	}
	follow()
	resized := make(chan os.Signal, 1)
	signal.Notify(resized, unix.SIGWINCH)
	go func() {
		for range resized {
			follow()
		}
	}()
	copied := make(chan struct{})
	go func() {
		// The terminal ends with an error once nobody has its other end open.
		_, _ = io.Copy(os.Stdout, console)
		close(copied)
	}()
	go func() {
		_, _ = io.Copy(console, own)
	}()
	return func() {
		<-copied
		signal.Stop(resized)
		close(resized)
		_ = unix.IoctlSetTermios(fd, unix.TCSETS, before)
	}, nil
}
