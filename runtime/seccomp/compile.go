package seccomp

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// What a filter returns, include/uapi/linux/seccomp.h.
const (
	retKillProcess = 0x8000_0000
	retKillThread  = 0x0000_0000
	retTrap        = 0x0003_0000
	retErrno       = 0x0005_0000
	retNotify      = 0x7fc0_0000
	retTrace       = 0x7ff0_0000
	retLog         = 0x7ffc_0000
	retAllow       = 0x7fff_0000
)

// Error numbers, the same on all architectures here.
const (
	eperm    = 1
	enosys   = 38
	maxErrno = 4095
)

var flagBits = map[specs.LinuxSeccompFlag]uint{
	"SECCOMP_FILTER_FLAG_TSYNC": 1, specs.LinuxSeccompFlagLog: 2, specs.LinuxSeccompFlagSpecAllow: 4,
	specs.LinuxSeccompFlagWaitKillableRecv: 0x20,
}

// flagNewListener asks for the listener's descriptor.
const flagNewListener = 8

// Compile makes the program of a profile. What a profile asks for that does not exist is
// errdefs.ErrInvalidArgument; calls this machine does not have are skipped.
func Compile(profile *specs.LinuxSeccomp) (Program, error) {
	var p Program
	for _, f := range profile.Flags {
		bit, known := flagBits[f]
		if !known {
			return p, fmt.Errorf("seccomp flag %q: %w", f, errdefs.ErrInvalidArgument)
		}
		p.Flags |= bit
	}
	fallback, err := action(profile.DefaultAction, profile.DefaultErrnoRet)
	if err != nil {
		return p, err
	}
	archs, err := chosen(profile)
	if err != nil {
		return p, err
	}
	var b builder
	b.load(offsetArch)
	for i, a := range archs {
		if a.bit != 0 {
			continue // is part of the architecture it shares the number with
		}
		calls, err := ranges(profile, a, fallback)
		if err != nil {
			return p, err
		}
		if i+1 < len(archs) && archs[i+1].audit == a.audit {
			more, err := ranges(profile, archs[i+1], fallback)
			if err != nil {
				return p, err
			}
			calls = append(until(calls, x32Bit), more...)
		} else if a.name == specs.ArchX86_64 {
			foreign := []span{{from: x32Bit, then: decision{ret: retKillProcess}}, {from: ^uint32(0), then: decision{ret: fallback}}}
			calls = append(until(calls, x32Bit), foreign...)
		}
		skip := b.ifEqual(a.audit)
		b.load(offsetNumber)
		b.search(calls)
		b.label(skip)
	}
	b.ret(retKillProcess)
	p.Code, err = b.finish()
	if err != nil {
		return p, err
	}
	for _, s := range profile.Syscalls {
		if s.Action == specs.ActNotify {
			p.Notify = true
			p.Flags |= flagNewListener
		}
	}
	return p, nil
}

// action is a profile's action as the kernel takes it.
func action(a specs.LinuxSeccompAction, errno *uint) (uint32, error) {
	data := uint32(eperm)
	if errno != nil {
		data = uint32(min(*errno, maxErrno))
	}
	switch a {
	case specs.ActAllow:
		return retAllow, nil
	case specs.ActErrno:
		return retErrno | data, nil
	case specs.ActKill, specs.ActKillThread:
		return retKillThread, nil
	case specs.ActKillProcess:
		return retKillProcess, nil
	case specs.ActTrap:
		return retTrap, nil
	case specs.ActTrace:
		return retTrace | data, nil
	case specs.ActLog:
		return retLog, nil
	case specs.ActNotify:
		return retNotify, nil
	}
	return 0, fmt.Errorf("seccomp action %q: %w", a, errdefs.ErrInvalidArgument)
}

// decision is what happens to a call: the first of tests that holds decides, else ret.
type decision struct {
	tests []test
	ret   uint32
}

// test is a rule's conditions, all of which must hold.
type test struct {
	conditions []specs.LinuxSeccompArg
	ret        uint32
}

func (d decision) plain() bool { return len(d.tests) == 0 }

// span is a range of call numbers, up to the next span's first, that fare alike.
type span struct {
	from uint32
	then decision
}

// ranges sorts a profile's rules into ranges of one architecture's numbers, beginning with that of the lowest.
func ranges(profile *specs.LinuxSeccomp, a architecture, fallback uint32) ([]span, error) {
	numbers, err := a.numbers()
	if err != nil {
		return nil, err
	}
	decisions := map[uint32]*decision{}
	final := map[uint32]bool{}
	for _, rule := range profile.Syscalls {
		ret, err := action(rule.Action, rule.ErrnoRet)
		if err != nil {
			return nil, err
		}
		tests, err := testsOf(rule, ret)
		if err != nil {
			return nil, err
		}
		for _, name := range rule.Names {
			n, known := numbers[name]
			if !known {
				continue
			}
			d := decisions[n]
			if d == nil {
				d = &decision{ret: fallback}
				decisions[n] = d
			}
			switch {
			case len(tests) > 0:
				d.tests = append(d.tests, tests...)
			case !final[n]:
				d.ret, final[n] = ret, true
			}
		}
	}
	return join(decisions, a.bit, fallback), nil
}

// testsOf splits a rule. Several conditions on one argument cannot all be meant to hold: each stands for itself.
func testsOf(rule specs.LinuxSyscall, ret uint32) ([]test, error) {
	if len(rule.Args) == 0 {
		return nil, nil
	}
	uses := map[uint]int{}
	again := false
	for _, a := range rule.Args {
		if a.Index > 5 {
			return nil, fmt.Errorf("seccomp argument %d of %v: %w", a.Index, rule.Names, errdefs.ErrInvalidArgument)
		}
		if !slices.Contains(operators, a.Op) {
			return nil, fmt.Errorf("seccomp operator %q of %v: %w", a.Op, rule.Names, errdefs.ErrInvalidArgument)
		}
		uses[a.Index]++
		again = again || uses[a.Index] > 1
	}
	if !again {
		return []test{{rule.Args, ret}}, nil
	}
	var tests []test
	for _, a := range rule.Args {
		tests = append(tests, test{[]specs.LinuxSeccompArg{a}, ret})
	}
	return tests, nil
}

// join makes ranges of single numbers: neighbours that fare alike are one.
func join(decisions map[uint32]*decision, first, fallback uint32) []span {
	list := make([]span, 0, len(decisions))
	for n, d := range decisions {
		list = append(list, span{n, *d})
	}
	slices.SortFunc(list, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	out := []span{{first, decision{ret: fallback}}}
	add := func(from uint32, d decision) {
		last := &out[len(out)-1]
		switch {
		case last.then.plain() && d.plain() && last.then.ret == d.ret:
		case last.from == from:
			last.then = d
		default:
			out = append(out, span{from, d})
		}
	}
	next := first
	for _, s := range list {
		if s.from > next {
			add(next, decision{ret: fallback})
		}
		add(s.from, s.then)
		next = s.from + 1
	}
	add(next, decision{ret: newer(fallback, len(list))})
	// -1 is what a tracer writes to skip a call: no call at all, and not a newer one.
	add(^uint32(0), decision{ret: fallback})
	return out
}

// newer is what happens to calls above all that a profile knows.
func newer(fallback uint32, known int) uint32 {
	if known > 0 && fallback == retErrno|eperm {
		return retErrno | enosys
	}
	return fallback
}

// until cuts what lies at or above end.
func until(spans []span, end uint32) []span {
	for i, s := range spans {
		if s.from >= end {
			return spans[:i:i]
		}
	}
	return spans
}
