package network

import (
	"fmt"
	"net/netip"
	"slices"
	"sync"

	"github.com/cove-containers/cove/network/bridge"
)

// spanPorts is how many containers one bridge takes: the kernel stops at 1,023 ports, of which some lead to further
// bridges. Those hang on the first like the points of a star, so that any number of containers is on one network.
const spanPorts = 960

// spans are the bridges of one network, the first being the one with its address.
type spans struct {
	mu   sync.Mutex
	most int // containers on one bridge
	all  []*span
	of   map[netip.Addr]*span
	// extend makes the nth further bridge.
	extend func(n int) (bridge.Device, error)
}

type span struct {
	device bridge.Device
	ports  int
}

func newSpans(first bridge.Device, extend func(n int) (bridge.Device, error)) *spans {
	return &spans{most: spanPorts, all: []*span{{device: first}}, of: map[netip.Addr]*span{}, extend: extend}
}

// take finds room for the endpoint with this address.
func (s *spans) take(address netip.Addr) (bridge.Device, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.all, func(one *span) bool { return one.ports < s.most })
	if i < 0 {
		device, err := s.extend(len(s.all))
		if err != nil {
			return bridge.Device{}, err
		}
		i = len(s.all)
		s.all = append(s.all, &span{device: device})
	}
	s.put(s.all[i], address)
	return s.all[i].device, nil
}

// put notes an endpoint; s.mu is held.
func (s *spans) put(one *span, address netip.Addr) {
	if s.of[address] == nil {
		s.of[address] = one
		one.ports++
	}
}

// free gives the endpoint's room back. It is no error where it has none.
func (s *spans) free(address netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if one := s.of[address]; one != nil {
		one.ports--
		delete(s.of, address)
	}
}

// devices are those of all bridges.
func (s *spans) devices() []bridge.Device {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []bridge.Device
	for _, one := range s.all {
		out = append(out, one.device)
	}
	return out
}

// find takes up the bridges, and the ports on them, that an earlier engine left; name gives the name of the nth.
func (s *spans) find(name func(n int) string, port func(device string) (netip.Addr, bool), prefix string) (found map[string]netip.Addr, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for n := len(s.all); bridge.Exists(name(n)); n++ {
		device, err := s.extend(n)
		if err != nil {
			return nil, err
		}
		s.all = append(s.all, &span{device: device})
	}
	found = map[string]netip.Addr{}
	for _, one := range s.all {
		names, err := one.device.Ports(prefix)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			if address, ok := port(name); ok {
				found[name] = address
				s.put(one, address)
			}
		}
	}
	return found, nil
}

// spanName is the nth further bridge of a user's network, linkName the device on the first that leads there: "cx" or
// "cl", five digits of the mark, five of the ID, two of the number.
func (c Config) spanName(id string, n int) string {
	return fmt.Sprintf("cx%.5s%.5s%02x", c.Mark+"00000", id, n)
}

func (c Config) linkName(id string, n int) string {
	return fmt.Sprintf("cl%.5s%.5s%02x", c.Mark+"00000", id, n)
}
