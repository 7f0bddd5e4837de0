package cgroup

import (
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// ask runs a filter program for one request.
func ask(t *testing.T, code []bpf, kind, access, major, minor uint32) bool {
	t.Helper()
	var regs [11]uint64
	request := map[int16]uint32{requestAccessAndKind: access<<accessShift | kind, requestMajor: major, requestMinor: minor}
	for pc := 0; pc < len(code); pc++ {
		i := code[pc]
		switch i.op {
		case bpfLoadWord:
			regs[i.dst] = uint64(request[i.off])
		case bpfMoveReg:
			regs[i.dst] = regs[i.src]
		case bpfMove:
			regs[i.dst] = uint64(i.imm)
		case bpfAnd:
			regs[i.dst] &= uint64(int64(i.imm))
		case bpfShiftRight:
			regs[i.dst] >>= uint(i.imm)
		case bpfNotEqual:
			if uint32(regs[i.dst]) != uint32(i.imm) {
				pc += int(i.off)
			}
		case bpfEqual:
			if uint32(regs[i.dst]) == uint32(i.imm) {
				pc += int(i.off)
			}
		case bpfExit:
			return regs[regResult] != 0
		default:
			t.Fatalf("operation %#x", i.op)
		}
	}
	t.Fatal("ran off the end")
	return false
}

// oldController says what the older controller would answer: accesses are granted or taken one by one, in order.
func oldController(rules []specs.LinuxDeviceCgroup, kind, access, major, minor uint32) bool {
	granted := uint32(allAccess)
	for _, r := range rules {
		match := r.Type == "" || r.Type == "a" || r.Type == "c" && kind == kindCharacter || r.Type == "b" && kind == kindBlock
		match = match && (r.Major == nil || *r.Major < 0 || uint32(*r.Major) == major) && (r.Minor == nil || *r.Minor < 0 || uint32(*r.Minor) == minor)
		bits, err := accessOf(r.Access)
		if !match || err != nil {
			continue
		}
		if r.Allow {
			granted |= uint32(bits)
		} else {
			granted &^= uint32(bits)
		}
	}
	return access&^granted == 0
}

func number(n int64) *int64 { return &n }

func TestDeviceFilter(t *testing.T) {
	for name, rules := range map[string][]specs.LinuxDeviceCgroup{
		"none":       nil,
		"everything": {{Allow: true, Access: "rwm"}},
		"nothing":    {{Allow: false, Access: "rwm"}},
		"docker": {
			{Allow: false, Access: "rwm"}, {Allow: true, Type: "c", Access: "m"}, {Allow: true, Type: "b", Access: "m"},
			{Allow: true, Type: "c", Major: number(1), Minor: number(3), Access: "rwm"}, {Allow: true, Type: "c", Major: number(5), Access: "rwm"},
			{Allow: true, Type: "b", Major: number(8), Minor: number(-1), Access: "r"},
		},
		"taken back": {
			{Allow: true, Access: "rwm"}, {Allow: false, Type: "c", Access: "w"}, {Allow: true, Type: "c", Major: number(1), Access: "w"},
			{Allow: false, Type: "a", Access: "m"}, {Allow: false, Minor: number(3), Access: "r"},
		},
	} {
		code, err := deviceFilter(rules)
		if err != nil {
			t.Fatal(err)
		}
		for _, kind := range []uint32{kindBlock, kindCharacter} {
			for access := uint32(1); access <= allAccess; access++ {
				for _, major := range []uint32{1, 5, 8, 200} {
					for _, minor := range []uint32{0, 3, 9} {
						if got, want := ask(t, code, kind, access, major, minor), oldController(rules, kind, access, major, minor); got != want {
							t.Errorf("%s: kind %d access %d %d:%d: got %v, want %v", name, kind, access, major, minor, got, want)
						}
					}
				}
			}
		}
	}
	for _, bad := range []specs.LinuxDeviceCgroup{{Type: "x"}, {Access: "q"}, {Major: number(1 << 40)}} {
		if _, err := deviceFilter([]specs.LinuxDeviceCgroup{bad}); err == nil {
			t.Errorf("%+v is accepted", bad)
		}
	}
}
