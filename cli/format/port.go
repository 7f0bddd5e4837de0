package format

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/network"
)

// PortLines lists where ports are bound: all of them, or the one that args, a container and perhaps a port, ask for.
func PortLines(ports network.PortMap, args []string) ([]string, error) {
	address := func(b network.PortBinding) string {
		host := ""
		if b.HostIP.IsValid() {
			host = b.HostIP.String()
		}
		return net.JoinHostPort(host, b.HostPort)
	}
	var out []string
	if len(args) > 1 {
		text, proto, _ := strings.Cut(args[1], "/")
		if proto == "" {
			proto = "tcp"
		}
		if n, err := strconv.ParseUint(text, 10, 16); err != nil {
			return nil, fmt.Errorf("Error: invalid port (%s): %w", text, err) //nolint:staticcheck // docker's words
		} else if port, ok := network.PortFrom(uint16(n), network.IPProtocol(proto)); ok {
			for _, b := range ports[port] {
				out = append(out, address(b))
			}
		}
		if out == nil {
			return nil, fmt.Errorf("Error: No public port '%s' published for %s", args[1], args[0]) //nolint:staticcheck // docker's words
		}
	} else {
		for port, bindings := range ports {
			for _, b := range bindings {
				out = append(out, port.String()+" -> "+address(b))
			}
		}
	}
	slices.SortFunc(out, Natural)
	return out, nil
}

// Natural puts texts in order so that numbers within them count as numbers.
func Natural(a, b string) int {
	for a != "" && b != "" {
		x, y := digits(a), digits(b)
		if x != "" && y != "" {
			n, _ := strconv.Atoi(x)
			m, _ := strconv.Atoi(y)
			if n != m {
				return n - m
			}
			a, b = a[len(x):], b[len(y):]
			continue
		}
		if a[0] != b[0] {
			return int(a[0]) - int(b[0])
		}
		a, b = a[1:], b[1:]
	}
	return len(a) - len(b)
}

func digits(s string) string {
	return s[:len(s)-len(strings.TrimLeft(s, "0123456789"))]
}
