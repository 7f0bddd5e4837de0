package runtime

import (
	"fmt"
	"io"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

// rawTerminal passes keys on as they are typed, copies both ways, and follows the window's size. The function it
// returns ends that once all output has been copied.
func rawTerminal(own *os.File, p *Process) (restore func(), err error) {
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
			discard(p.Resize(size.Col, size.Row))
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
		_, err := io.Copy(os.Stdout, p.console)
		discard(err)
		close(copied)
	}()
	go func() {
		_, err := io.Copy(p.console, own)
		discard(err)
	}()
	return func() {
		<-copied
		signal.Stop(resized)
		close(resized)
		discard(unix.IoctlSetTermios(fd, unix.TCSETS, before))
	}, nil
}
