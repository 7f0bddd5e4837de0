package seccomp

import (
	"errors"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Operations of classic BPF that filters use.
const (
	opLoad     = 0x20 // ld [k]
	opAnd      = 0x54 // and #k
	opJump     = 0x05 // ja
	opEqual    = 0x15 // jeq #k
	opGreater  = 0x25 // jgt #k
	opAtLeast  = 0x35 // jge #k
	opReturn   = 0x06 // ret #k
	shortReach = 255
)

// Places in struct seccomp_data. An argument's lower half comes first: all architectures here are little-endian.
const (
	offsetNumber = 0
	offsetArch   = 4
	offsetArgs   = 16
	argSize      = 8
	halfSize     = 4
)

var operators = []specs.LinuxSeccompOperator{
	specs.OpNotEqual, specs.OpLessThan, specs.OpLessEqual, specs.OpEqualTo, specs.OpGreaterEqual, specs.OpGreaterThan, specs.OpMaskedEqual,
}

// place is a spot in a program that jumps go to, known once label is called for it.
type place int

// jump is a jump whose distance is not yet known.
type jump struct {
	at     int
	to     place
	onTrue bool
	far    bool
}

// builder writes a program front to back; jumps only ever lead forward.
type builder struct {
	code   []Instruction
	places []int
	jumps  []jump
}

func (b *builder) emit(op uint16, k uint32) int {
	b.code = append(b.code, Instruction{Op: op, K: k})
	return len(b.code) - 1
}

func (b *builder) load(offset uint32) { b.emit(opLoad, offset) }
func (b *builder) ret(value uint32)   { b.emit(opReturn, value) }

func (b *builder) place() place {
	b.places = append(b.places, -1)
	return place(len(b.places) - 1)
}

func (b *builder) label(p place) { b.places[p] = len(b.code) }

// far jumps to p from wherever it is.
func (b *builder) far(p place) {
	b.jumps = append(b.jumps, jump{at: b.emit(opJump, 0), to: p, far: true})
}

// branch compares and, where the outcome is onTrue, jumps to p, which must be near.
func (b *builder) branch(op uint16, k uint32, onTrue bool, p place) {
	b.jumps = append(b.jumps, jump{at: b.emit(op, k), to: p, onTrue: onTrue})
}

// ifEqual skips to the place it returns unless the loaded value is k; the place may be far away.
func (b *builder) ifEqual(k uint32) place {
	at := b.emit(opEqual, k)
	b.code[at].Jt = 1
	p := b.place()
	b.far(p)
	return p
}

// search decides by the loaded number which span it lies in. Each comparison halves the spans left.
func (b *builder) search(spans []span) {
	if len(spans) == 1 {
		b.decide(spans[0].then)
		return
	}
	middle := len(spans) / 2
	at := b.emit(opAtLeast, spans[middle].from)
	lower := len(b.code)
	b.search(spans[:middle])
	size := len(b.code) - lower
	if size <= shortReach {
		b.code[at].Jt = uint8(size)
	} else {
		// The upper half is too far for a comparison: a long jump goes between.
		jump := Instruction{Op: opJump, K: uint32(size)}
		b.insert(lower, jump)
		b.code[at].Jf = 1
	}
	b.search(spans[middle:])
}

// insert puts an instruction at a spot and moves what was to come there or later.
func (b *builder) insert(at int, i Instruction) {
	b.code = append(b.code, Instruction{})
	copy(b.code[at+1:], b.code[at:])
	b.code[at] = i
	for n := range b.jumps {
		if b.jumps[n].at >= at {
			b.jumps[n].at++
		}
	}
	for n := range b.places {
		if b.places[n] >= at {
			b.places[n]++
		}
	}
}

// decide ends the program for one call.
func (b *builder) decide(d decision) {
	for _, t := range d.tests {
		next := b.place()
		for _, c := range t.conditions {
			b.condition(c, next)
		}
		b.ret(t.ret)
		b.label(next)
	}
	b.ret(d.ret)
}

// condition goes on where the condition holds and to fail where not. The kernel compares 32 bits at a time.
func (b *builder) condition(c specs.LinuxSeccompArg, fail place) {
	low := uint32(offsetArgs + argSize*c.Index)
	high := low + halfSize
	pass := b.place()
	switch c.Op {
	case specs.OpEqualTo:
		b.load(high)
		b.branch(opEqual, uint32(c.Value>>32), false, fail)
		b.load(low)
		b.branch(opEqual, uint32(c.Value), false, fail)
	case specs.OpNotEqual:
		b.load(high)
		b.branch(opEqual, uint32(c.Value>>32), false, pass)
		b.load(low)
		b.branch(opEqual, uint32(c.Value), true, fail)
	case specs.OpMaskedEqual:
		b.load(high)
		b.emit(opAnd, uint32(c.Value>>32))
		b.branch(opEqual, uint32(c.ValueTwo>>32), false, fail)
		b.load(low)
		b.emit(opAnd, uint32(c.Value))
		b.branch(opEqual, uint32(c.ValueTwo), false, fail)
	case specs.OpGreaterThan, specs.OpGreaterEqual:
		b.load(high)
		b.branch(opGreater, uint32(c.Value>>32), true, pass)
		b.branch(opEqual, uint32(c.Value>>32), false, fail)
		b.load(low)
		b.branch(order(c.Op == specs.OpGreaterEqual), uint32(c.Value), false, fail)
	case specs.OpLessThan, specs.OpLessEqual:
		b.load(high)
		b.branch(opGreater, uint32(c.Value>>32), true, fail)
		b.branch(opEqual, uint32(c.Value>>32), false, pass)
		b.load(low)
		b.branch(order(c.Op == specs.OpLessThan), uint32(c.Value), true, fail)
	}
	b.label(pass)
}

func order(orEqual bool) uint16 {
	if orEqual {
		return opAtLeast
	}
	return opGreater
}

var errTooLong = errors.New("seccomp profile is too long for the kernel")

// finish fills in the distances.
func (b *builder) finish() ([]Instruction, error) {
	if len(b.code) > maxInstructions {
		return nil, errTooLong
	}
	for _, j := range b.jumps {
		distance := b.places[j.to] - j.at - 1
		switch {
		case j.far:
			b.code[j.at].K = uint32(distance)
		case distance > shortReach:
			return nil, errTooLong
		case j.onTrue:
			b.code[j.at].Jt = uint8(distance)
		default:
			b.code[j.at].Jf = uint8(distance)
		}
	}
	return b.code, nil
}
