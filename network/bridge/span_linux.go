package bridge

import (
	"fmt"
	"slices"
	"sync"

	"github.com/vishvananda/netlink"
)

// spanPorts is how many containers one bridge takes: the kernel stops at 1,023 ports, of which some lead to further
// bridges. Those hang on the first like the points of a star, so that any number of containers is on one network.
const spanPorts = 960

// Spans are the bridges of one network, the first being the one with its address.
type Spans struct {
	// Most is how many containers are on one bridge at most.
	Most int

	mu  sync.Mutex
	all []*span
	of  map[string]*span // by the device of the endpoint
	// extend makes the nth further bridge.
	extend func(n int) (Device, error)
}

type span struct {
	device Device
	ports  int
}

// NewSpans is a network on its first bridge alone; extend makes the nth further one.
func NewSpans(first Device, extend func(n int) (Device, error)) *Spans {
	return &Spans{Most: spanPorts, all: []*span{{device: first}}, of: map[string]*span{}, extend: extend}
}

// Take finds room for the endpoint with this device.
func (s *Spans) Take(port string) (Device, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.all, func(one *span) bool { return one.ports < s.Most })
	if i < 0 {
		device, err := s.extend(len(s.all))
		if err != nil {
			return Device{}, err
		}
		i = len(s.all)
		s.all = append(s.all, &span{device: device})
	}
	s.put(s.all[i], port)
	return s.all[i].device, nil
}

// put notes an endpoint; s.mu is held.
func (s *Spans) put(one *span, port string) {
	if s.of[port] == nil {
		s.of[port] = one
		one.ports++
	}
}

// Free gives the endpoint's room back. It is no error where it has none.
func (s *Spans) Free(port string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if one := s.of[port]; one != nil {
		one.ports--
		delete(s.of, port)
	}
}

// Rejoin puts the device of an endpoint that is there back on a bridge, where Find saw it on none: somebody has removed that bridge, or
// given it another name. Apart keeps it from the others of its kind.
func (s *Spans) Rejoin(port string, apart bool) error {
	s.mu.Lock()
	known := s.of[port] != nil
	s.mu.Unlock()
	index := indexOf(port)
	if known || index == 0 {
		return nil
	}
	d, err := s.Take(port)
	if err != nil {
		return err
	}
	link := &netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: index, Name: port}}
	if err = netlink.LinkSetMasterByIndex(link, d.Index); err == nil && apart {
		err = netlink.LinkSetIsolated(link, true)
	}
	if err != nil {
		return fmt.Errorf("put device %s on %s again: %w", port, d.Name, err)
	}
	return nil
}

// Devices are those of all bridges.
func (s *Spans) Devices() []Device {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []Device
	for _, one := range s.all {
		out = append(out, one.device)
	}
	return out
}

// Find takes up the bridges, and the ports on them whose names begin with prefix, that an earlier engine left; name gives
// the name of the nth bridge. It returns the ports' aliases by their names.
func (s *Spans) Find(name func(n int) string, prefix string) (found map[string]string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for n := len(s.all); Exists(name(n)); n++ {
		device, err := s.extend(n)
		if err != nil {
			return nil, err
		}
		s.all = append(s.all, &span{device: device})
	}
	found = map[string]string{}
	for _, one := range s.all {
		ports, err := one.device.ports(prefix)
		if err != nil {
			return nil, err
		}
		for port, alias := range ports {
			found[port] = alias
			s.put(one, port)
		}
	}
	return found, nil
}
