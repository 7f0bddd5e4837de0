package client

import (
	"net"
	"os"
	"strings"
	"syscall"
	"time"
)

// pipe is a Windows named pipe opened as a file, with what net.Conn asks for.
type pipe struct {
	*os.File
	name string
}

type pipeAddr string

func (pipeAddr) Network() string  { return "npipe" }
func (a pipeAddr) String() string { return string(a) }

func (p pipe) LocalAddr() net.Addr  { return pipeAddr(p.name) }
func (p pipe) RemoteAddr() net.Addr { return pipeAddr(p.name) }

// CloseWrite sends the empty message that daemons on Windows read as the end of input.
func (p pipe) CloseWrite() error {
	_, err := p.File.Write(nil)
	return err
}

func (p pipe) SetDeadline(t time.Time) error     { return ignoreNoDeadline(p.File.SetDeadline(t)) }
func (p pipe) SetReadDeadline(t time.Time) error { return ignoreNoDeadline(p.File.SetReadDeadline(t)) }
func (p pipe) SetWriteDeadline(t time.Time) error {
	return ignoreNoDeadline(p.File.SetWriteDeadline(t))
}

func dialPipe(address string) (net.Conn, error) {
	name := strings.ReplaceAll(address, "/", `\`)
	f, err := os.OpenFile(name, os.O_RDWR|syscall.FILE_FLAG_OVERLAPPED, 0) // reads and writes go on at the same time
	if err != nil {
		return nil, err
	}
	return pipe{File: f, name: name}, nil
}
