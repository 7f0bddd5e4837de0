//go:build !windows

package client

import (
	"errors"
	"net"
)

func dialPipe(string) (net.Conn, error) {
	return nil, errors.New("protocol not available: named pipes exist on Windows only")
}
