package cgroup

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// This is as much of the D-Bus protocol as asking systemd for a scope takes: calls with strings, numbers and lists
// of properties, and answers and signals made of strings and numbers. A library would bring networking and
// reflection into a program that each container has a copy of.

// Types of messages.
const (
	messageCall   = 1
	messageReturn = 2
	messageError  = 3
	messageSignal = 4
)

// Header fields.
const (
	fieldPath        = 1
	fieldInterface   = 2
	fieldMember      = 3
	fieldError       = 4
	fieldReplySerial = 5
	fieldDestination = 6
	fieldSignature   = 8
)

// longestMessage bounds what is read from the other side.
const longestMessage = 1 << 20

// fixedHeader is the part of a message before its header fields.
const fixedHeader = 16

// message is one D-Bus message. Fields holds the header's strings by number.
type message struct {
	kind        byte
	serial      uint32
	replySerial uint32
	fields      map[byte]string
	body        []byte
}

// writer lays values out with the alignment the protocol asks for.
type writer struct{ b []byte }

func (w *writer) align(n int) {
	for len(w.b)%n != 0 {
		w.b = append(w.b, 0)
	}
}

func (w *writer) uint32(v uint32) {
	w.align(4)
	w.b = binary.LittleEndian.AppendUint32(w.b, v)
}

func (w *writer) uint64(v uint64) {
	w.align(8)
	w.b = binary.LittleEndian.AppendUint64(w.b, v)
}

func (w *writer) text(s string) {
	w.uint32(uint32(len(s)))
	w.b = append(append(w.b, s...), 0)
}

func (w *writer) signature(s string) {
	w.b = append(w.b, byte(len(s)))
	w.b = append(append(w.b, s...), 0)
}

// array writes a list whose elements are aligned to n; its length is known when they are written.
func (w *writer) array(n int, elements func()) {
	w.uint32(0)
	at := len(w.b)
	w.align(n)
	start := len(w.b)
	elements()
	binary.LittleEndian.PutUint32(w.b[at-4:], uint32(len(w.b)-start))
}

// property is a named value of a unit: string, bool, uint64 or []uint32.
type property struct {
	name  string
	value any
}

// properties writes a list of (name, variant).
func (w *writer) properties(list []property) {
	w.array(8, func() {
		for _, p := range list {
			w.align(8)
			w.text(p.name)
			switch v := p.value.(type) {
			case string:
				w.signature("s")
				w.text(v)
			case bool:
				w.signature("b")
				n := uint32(0)
				if v {
					n = 1
				}
				w.uint32(n)
			case uint64:
				w.signature("t")
				w.uint64(v)
			case []uint32:
				w.signature("au")
				w.array(4, func() {
					for _, n := range v {
						w.uint32(n)
					}
				})
			}
		}
	})
}

// encode lays a message out.
func (m *message) encode() []byte {
	w := &writer{b: []byte{'l', m.kind, 0, 1}}
	w.uint32(uint32(len(m.body)))
	w.uint32(m.serial)
	w.array(8, func() {
		for _, f := range []byte{fieldPath, fieldInterface, fieldMember, fieldError, fieldDestination, fieldSignature} {
			value, has := m.fields[f]
			if !has {
				continue
			}
			w.align(8)
			w.b = append(w.b, f)
			switch f {
			case fieldPath:
				w.signature("o")
				w.text(value)
			case fieldSignature:
				w.signature("g")
				w.signature(value)
			default:
				w.signature("s")
				w.text(value)
			}
		}
		if m.replySerial != 0 {
			w.align(8)
			w.b = append(w.b, fieldReplySerial)
			w.signature("u")
			w.uint32(m.replySerial)
		}
	})
	w.align(8)
	return append(w.b, m.body...)
}

var errMessage = errors.New("malformed D-Bus message")

// readMessage reads one message.
func readMessage(r io.Reader) (*message, error) {
	head := make([]byte, fixedHeader)
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, err
	}
	if head[0] != 'l' || head[3] != 1 {
		return nil, fmt.Errorf("%w: byte order %q, version %d", errMessage, head[0], head[3])
	}
	body, fields := binary.LittleEndian.Uint32(head[4:]), binary.LittleEndian.Uint32(head[12:])
	if body > longestMessage || fields > longestMessage {
		return nil, fmt.Errorf("%w: %d and %d bytes", errMessage, fields, body)
	}
	padded := (int(fields) + 7) &^ 7
	rest := make([]byte, padded+int(body))
	if _, err := io.ReadFull(r, rest); err != nil {
		return nil, err
	}
	m := &message{kind: head[1], serial: binary.LittleEndian.Uint32(head[8:]), fields: map[byte]string{}, body: rest[padded:]}
	return m, m.readFields(rest[:fields])
}

// readFields reads a header's fields: strings and numbers, each with its own signature.
func (m *message) readFields(b []byte) error {
	r := &reader{b: b}
	for !r.end() {
		r.align(8)
		field := r.byte()
		switch kind := r.signature(); kind {
		case "s", "o":
			m.fields[field] = r.text()
		case "g":
			m.fields[field] = r.signature()
		case "u":
			n := r.uint32()
			if field == fieldReplySerial {
				m.replySerial = n
			}
		default:
			return fmt.Errorf("%w: field of type %q", errMessage, kind)
		}
		if r.bad {
			return errMessage
		}
	}
	return nil
}

// reader takes values from a message; once something is missing everything is zero and bad is set.
type reader struct {
	b   []byte
	at  int
	bad bool
}

func (r *reader) end() bool { return r.bad || r.at >= len(r.b) }

func (r *reader) align(n int) { r.at = (r.at + n - 1) / n * n }

func (r *reader) take(n int) []byte {
	if r.bad || n < 0 || r.at+n > len(r.b) {
		r.bad = true
		return nil
	}
	r.at += n
	return r.b[r.at-n : r.at]
}

func (r *reader) byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) uint32() uint32 {
	r.align(4)
	if b := r.take(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (r *reader) text() string {
	n := r.uint32()
	if n > longestMessage {
		r.bad = true
	}
	return r.terminated(int(n))
}

func (r *reader) signature() string { return r.terminated(int(r.byte())) }

func (r *reader) terminated(n int) string {
	b := r.take(n + 1)
	if b == nil || b[n] != 0 || bytes.IndexByte(b[:n], 0) >= 0 {
		r.bad = true
		return ""
	}
	return string(b[:n])
}
