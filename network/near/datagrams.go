package near

import (
	"cmp"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

const (
	// silence is after how long without a datagram a flow ends.
	silence = 90 * time.Second
	// certain is how long after its last datagram a flow is sure to be one to the kernel, too, which forgets it after half a minute: what comes then from
	// the same port of a client may have been sent to another published port.
	certain = 5 * time.Second
	// longest is how long a datagram can be.
	longest = 1 << 16
)

// flow is what one client sends by UDP to one address of the host, and what comes back.
type flow struct {
	key         flowKey
	dialled, to netip.AddrPort
	container   *net.UDPConn
	reply       []byte       // the control message by which answers come from the address that was dialled
	last        atomic.Int64 // when something was sent either way, in nanoseconds
}

type flowKey struct {
	client netip.AddrPort
	local  netip.Addr
}

func (f *flow) idle() time.Duration { return time.Duration(time.Now().UnixNano() - f.last.Load()) }

func (f *flow) used() { f.last.Store(time.Now().UnixNano()) }

// receive leads datagrams on until the socket is closed.
func (s *Server) receive(c *net.UDPConn) {
	data, control := make([]byte, longest), make([]byte, 256)
	for {
		n, told, _, client, err := c.ReadMsgUDPAddrPort(data, control)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		local, reply, known := localOf(control[:told])
		if err != nil || !known {
			continue
		}
		if f := s.flow(c, flowKey{client, local}, reply); f != nil {
			f.used()
			f.container.Write(data[:n]) // that nobody listens is no reason to stop: the next one may be heard
		}
	}
}

// localOf reads the address of the host that a datagram was sent to, and the control message by which one is sent from there.
func localOf(control []byte) (local netip.Addr, reply []byte, ok bool) {
	all, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return local, nil, false
	}
	for _, m := range all {
		if m.Header.Level == unix.IPPROTO_IPV6 && m.Header.Type == unix.IPV6_PKTINFO && len(m.Data) >= unix.SizeofInet6Pktinfo {
			info := unix.Inet6Pktinfo{Addr: [16]byte(m.Data)}
			if local = netip.AddrFrom16(info.Addr); local.IsLinkLocalUnicast() {
				info.Ifindex = binary.NativeEndian.Uint32(m.Data[16:])
			}
			return local, unix.PktInfo6(&info), true
		}
	}
	return local, nil, false
}

// flow is the one of a client, made where there is none; nil where the port that was dialled leads nowhere.
func (s *Server) flow(c *net.UDPConn, key flowKey, reply []byte) *flow {
	s.mu.Lock()
	f := s.flows[key]
	s.mu.Unlock()
	if f != nil && f.idle() < certain {
		return f
	}
	dialled, err := dialledBy(key, s.Port())
	if err != nil || dialled.Port() == s.Port() {
		return nil
	}
	to, known := s.leads(unix.IPPROTO_UDP, dialled)
	if f != nil && known && f.dialled == dialled && f.to == to {
		return f
	}
	if f != nil {
		s.end(f)
	}
	if !known {
		return nil
	}
	container, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		s.log.Debug("a published port is not reached", "port", dialled, "at", to, "error", err)
		return nil
	}
	f = &flow{key: key, dialled: dialled, to: to, container: container, reply: reply}
	f.used()
	if !s.begin(f) {
		container.Close()
		return nil
	}
	if !s.stillLeads(unix.IPPROTO_UDP, dialled, to) { // a Check before it was noted has not seen it
		s.end(f)
		return nil
	}
	s.work.Go(func() { s.answer(c, f) })
	return f
}

// begin notes a flow. Where there are too many, one of a few others that has been silent the longest ends.
func (s *Server) begin(f *flow) bool {
	const few = 16
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	if len(s.flows) >= cap(s.places) {
		var oldest *flow
		seen := 0
		for _, other := range s.flows {
			if oldest == nil || other.last.Load() < oldest.last.Load() {
				oldest = other
			}
			if seen++; seen == few {
				break
			}
		}
		delete(s.flows, oldest.key)
		oldest.container.Close()
	}
	s.flows[f.key] = f
	return true
}

// end closes a flow and forgets it.
func (s *Server) end(f *flow) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.flows[f.key] == f {
		delete(s.flows, f.key)
	}
	f.container.Close()
}

// answer sends to the client what comes from the container, until there has been silence.
func (s *Server) answer(c *net.UDPConn, f *flow) {
	defer s.end(f)
	raw, err := f.container.SyscallConn()
	if err != nil {
		return
	}
	for {
		f.container.SetReadDeadline(time.Now().Add(silence - min(f.idle(), silence) + time.Millisecond))
		data, n, err := await(raw)
		if err == nil {
			f.used()
			c.WriteMsgUDPAddrPort(data[:n], f.reply, f.key.client) // a client that is gone is found silent
			buffers.Put(data)
		} // else perhaps the container's answer to something that was sent before
		if errors.Is(err, net.ErrClosed) || err != nil && f.idle() >= silence {
			return
		}
	}
}

// await reads what comes next, into one of the buffers, to which who calls it gives that back. Thousands that wait have none.
func await(raw syscall.RawConn) (data *[longest]byte, n int, err error) {
	waited := raw.Read(func(fd uintptr) bool {
		data = buffers.Get().(*[longest]byte)
		if n, err = unix.Read(int(fd), data[:]); err != nil {
			buffers.Put(data)
		}
		return !errors.Is(err, unix.EAGAIN)
	})
	return data, n, cmp.Or(waited, err)
}

var buffers = sync.Pool{New: func() any { return new([longest]byte) }}

// Attributes by which the kernel is asked for a flow that it has translated, enum ctattr_type, ctattr_tuple, ctattr_ip and ctattr_l4proto.
const (
	tupleOrig, tupleReply        = 1, 2
	tupleIP, tupleProto          = 1, 2
	ipv6Src, ipv6Dst             = 3, 4
	protoNum, protoSrc, protoDst = 1, 2, 3
)

// dialledBy asks the kernel which port of the host a client's datagram was sent to, before the firewall led it to the socket.
func dialledBy(key flowKey, socket uint16) (netip.AddrPort, error) {
	req := nl.NewNetlinkRequest(unix.NFNL_SUBSYS_CTNETLINK<<8|nl.IPCTNL_MSG_CT_GET, unix.NLM_F_ACK) // without which the answer seems to have no end
	req.AddData(&nl.Nfgenmsg{NfgenFamily: unix.AF_INET6, Version: nl.NFNETLINK_V0})
	port := func(n uint16) []byte { return binary.BigEndian.AppendUint16(nil, n) }
	tuple := nl.NewRtAttr(tupleReply|unix.NLA_F_NESTED, nil)
	ip := tuple.AddRtAttr(tupleIP|unix.NLA_F_NESTED, nil)
	ip.AddRtAttr(ipv6Src, key.local.AsSlice())
	ip.AddRtAttr(ipv6Dst, key.client.Addr().WithZone("").AsSlice())
	proto := tuple.AddRtAttr(tupleProto|unix.NLA_F_NESTED, nil)
	proto.AddRtAttr(protoNum, []byte{unix.IPPROTO_UDP})
	proto.AddRtAttr(protoSrc, port(socket))
	proto.AddRtAttr(protoDst, port(key.client.Port()))
	req.AddData(tuple)
	answers, err := req.Execute(unix.NETLINK_NETFILTER, 0)
	if err != nil {
		return netip.AddrPort{}, err
	}
	for _, m := range answers {
		if len(m) < nl.SizeofNfgenmsg {
			continue
		}
		found := attribute(attribute(attribute(m[nl.SizeofNfgenmsg:], tupleOrig), tupleProto), protoDst)
		if len(found) >= 2 {
			return netip.AddrPortFrom(key.local, binary.BigEndian.Uint16(found)), nil
		}
	}
	return netip.AddrPort{}, errors.New("the kernel does not tell where the datagram was sent to")
}

// attribute is one of those that data holds, nil where it is not there.
func attribute(data []byte, kind uint16) []byte {
	all, err := nl.ParseRouteAttr(data)
	if err != nil {
		return nil
	}
	for _, a := range all {
		if a.Attr.Type&^(unix.NLA_F_NESTED|unix.NLA_F_NET_BYTEORDER) == kind {
			return a.Value
		}
	}
	return nil
}
