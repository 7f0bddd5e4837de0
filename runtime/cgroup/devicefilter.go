package cgroup

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// On the unified hierarchy there are no device files to write rules to: a program attached to the group answers for
// each access whether it may be. The rules mean what they mean to the older controller, where the last one that
// matches wins, so the program asks them from the last to the first. A request may be for several accesses at once;
// each rule that allows some takes them off, and when none is left the request is granted.

// bpf is one instruction of an extended BPF program.
type bpf struct {
	op       uint8
	dst, src uint8
	off      int16
	imm      int32
}

// Operations, include/uapi/linux/bpf.h.
const (
	bpfLoadWord   = 0x61 // dst = *(u32 *)(src + off)
	bpfMoveReg    = 0xbf
	bpfMove       = 0xb7
	bpfAnd        = 0x57
	bpfShiftRight = 0x77
	bpfNotEqual   = 0x56 // if (u32)dst != imm skip off
	bpfEqual      = 0x16
	bpfExit       = 0x95
)

// Registers: the result, the request, and what the program keeps of it.
const (
	regResult = iota
	regRequest
	regKind
	regAccess
	regMajor
	regMinor
	regScratch
)

// A request's words and what is in them, struct bpf_cgroup_dev_ctx.
const (
	requestAccessAndKind, requestMajor, requestMinor = 0, 4, 8

	kindMask, accessShift    = 0xffff, 16
	kindBlock, kindCharacter = 1, 2
)

var accessBits = map[rune]int32{'m': 1, 'r': 2, 'w': 4}

// allAccess is every kind of access.
const allAccess = 7

// deviceFilter makes the program for rules.
func deviceFilter(rules []specs.LinuxDeviceCgroup) ([]bpf, error) {
	code := []bpf{
		{op: bpfLoadWord, dst: regKind, src: regRequest, off: requestAccessAndKind},
		{op: bpfMoveReg, dst: regAccess, src: regKind},
		{op: bpfAnd, dst: regKind, imm: kindMask},
		{op: bpfShiftRight, dst: regAccess, imm: accessShift},
		{op: bpfLoadWord, dst: regMajor, src: regRequest, off: requestMajor},
		{op: bpfLoadWord, dst: regMinor, src: regRequest, off: requestMinor},
	}
	for i := len(rules) - 1; i >= 0; i-- {
		block, final, err := deviceBlock(rules[i])
		if err != nil {
			return nil, err
		}
		code = append(code, block...)
		if final {
			return code, nil
		}
	}
	return append(code, answer(1)...), nil
}

func answer(allowed int32) []bpf {
	return []bpf{{op: bpfMove, dst: regResult, imm: allowed}, {op: bpfExit}}
}

// deviceBlock is one rule: tests that skip the block where the rule does not match, and what it does where it does.
// A final block leaves nothing open.
func deviceBlock(r specs.LinuxDeviceCgroup) (code []bpf, final bool, err error) {
	access, err := accessOf(r.Access)
	if err != nil {
		return nil, false, err
	}
	switch r.Type {
	case "", "a":
	case "c":
		code = append(code, bpf{op: bpfNotEqual, dst: regKind, imm: kindCharacter})
	case "b":
		code = append(code, bpf{op: bpfNotEqual, dst: regKind, imm: kindBlock})
	default:
		return nil, false, fmt.Errorf("device type %q: %w", r.Type, errdefs.ErrInvalidArgument)
	}
	for _, n := range []struct {
		reg   uint8
		value *int64
	}{{regMajor, r.Major}, {regMinor, r.Minor}} {
		if n.value == nil || *n.value < 0 {
			continue
		}
		if *n.value > math.MaxInt32 {
			return nil, false, fmt.Errorf("device number %d: %w", *n.value, errdefs.ErrInvalidArgument)
		}
		code = append(code, bpf{op: bpfNotEqual, dst: n.reg, imm: int32(*n.value)})
	}
	tests := len(code)
	if tests == 0 && access == allAccess {
		allowed := int32(0)
		if r.Allow {
			allowed = 1
		}
		return answer(allowed), true, nil
	}
	if r.Allow {
		code = append(code, bpf{op: bpfAnd, dst: regAccess, imm: ^access}, bpf{op: bpfNotEqual, dst: regAccess, imm: 0, off: 2})
		code = append(code, answer(1)...)
	} else {
		code = append(code, bpf{op: bpfMoveReg, dst: regScratch, src: regAccess}, bpf{op: bpfAnd, dst: regScratch, imm: access},
			bpf{op: bpfEqual, dst: regScratch, imm: 0, off: 2})
		code = append(code, answer(0)...)
	}
	for i := range tests {
		code[i].off = int16(len(code) - i - 1)
	}
	return code, false, nil
}

func accessOf(text string) (int32, error) {
	if text == "" {
		return allAccess, nil
	}
	var all int32
	for _, r := range text {
		bit, known := accessBits[r]
		if !known {
			return 0, fmt.Errorf("device access %q: %w", text, errdefs.ErrInvalidArgument)
		}
		all |= bit
	}
	return all, nil
}

// encodeBPF lays a program out as the kernel reads it.
func encodeBPF(code []bpf) []byte {
	out := make([]byte, 0, 8*len(code))
	for _, i := range code {
		out = append(out, i.op, i.dst|i.src<<4)
		out = binary.NativeEndian.AppendUint16(out, uint16(i.off))
		out = binary.NativeEndian.AppendUint32(out, uint32(i.imm))
	}
	return out
}
