package runtime

import (
	"fmt"
	"math"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/cove-containers/cove/sys"
)

var rlimitNumbers = map[string]int{
	"RLIMIT_CPU": unix.RLIMIT_CPU, "RLIMIT_FSIZE": unix.RLIMIT_FSIZE, "RLIMIT_DATA": unix.RLIMIT_DATA,
	"RLIMIT_STACK": unix.RLIMIT_STACK, "RLIMIT_CORE": unix.RLIMIT_CORE, "RLIMIT_RSS": unix.RLIMIT_RSS,
	"RLIMIT_NPROC": unix.RLIMIT_NPROC, "RLIMIT_NOFILE": unix.RLIMIT_NOFILE, "RLIMIT_MEMLOCK": unix.RLIMIT_MEMLOCK,
	"RLIMIT_AS": unix.RLIMIT_AS, "RLIMIT_LOCKS": unix.RLIMIT_LOCKS, "RLIMIT_SIGPENDING": unix.RLIMIT_SIGPENDING,
	"RLIMIT_MSGQUEUE": unix.RLIMIT_MSGQUEUE, "RLIMIT_NICE": unix.RLIMIT_NICE, "RLIMIT_RTPRIO": unix.RLIMIT_RTPRIO,
	"RLIMIT_RTTIME": unix.RLIMIT_RTTIME,
}

// rlimit is one resource limit.
type rlimit struct {
	name   string
	number int
	value  *unix.Rlimit
}

// rlimits are the process's; of open files always one.
func (b *birth) rlimits() ([]rlimit, error) {
	var all []rlimit
	given := map[int]bool{}
	for _, l := range b.process.Rlimits {
		n, known := rlimitNumbers[strings.ToUpper(l.Type)]
		if !known {
			return nil, fmt.Errorf("unknown limit %q: %w", l.Type, errdefs.ErrInvalidArgument)
		}
		if given[n] {
			return nil, fmt.Errorf("limit %q is given twice: %w", l.Type, errdefs.ErrInvalidArgument)
		}
		given[n] = true
		all = append(all, rlimit{l.Type, n, &unix.Rlimit{Cur: l.Soft, Max: l.Hard}})
	}
	if soft, hard, known := sys.OpenFilesLimit(); known && !given[unix.RLIMIT_NOFILE] {
		all = append(all, rlimit{"RLIMIT_NOFILE", unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: soft, Max: hard}})
	}
	return all, nil
}

// setLimits sets the limits of a process from outside: in a user namespace of its own it cannot raise them.
func (b *birth) setLimits(pid int) error {
	all, err := b.rlimits()
	if err != nil {
		return err
	}
	for _, l := range all {
		if err := unix.Prlimit(pid, l.number, l.value, nil); err != nil {
			return fmt.Errorf("set %s: %w", l.name, err)
		}
	}
	return nil
}

// limits sets resource limits, scheduling and personality of the process.
func (b *birth) limits(p *program) error {
	all, err := b.rlimits()
	if err != nil {
		return err
	}
	for _, l := range all {
		if b.users == nil {
			p.add("set "+l.name, unix.SYS_PRLIMIT64, 0, uintptr(l.number), object(p, l.value), 0)
		}
	}
	if err := b.scheduling(p); err != nil {
		return err
	}
	if b.personality != nil {
		domain := uintptr(0)
		switch b.personality.Domain {
		case specs.PerLinux:
		case specs.PerLinux32:
			domain = 0x8
		default:
			return fmt.Errorf("unknown personality %q: %w", b.personality.Domain, errdefs.ErrInvalidArgument)
		}
		p.add("set personality", unix.SYS_PERSONALITY, domain)
	}
	return nil
}

// Classes of I/O scheduling and the shift that joins class and priority, include/uapi/linux/ioprio.h.
var ioClasses = map[specs.IOPriorityClass]int{
	specs.IOPRIO_CLASS_RT: 1, specs.IOPRIO_CLASS_BE: 2, specs.IOPRIO_CLASS_IDLE: 3,
}

const (
	ioClassShift = 13
	ioProcess    = 1
)

var schedulers = map[specs.LinuxSchedulerPolicy]uint32{
	specs.SchedOther: 0, specs.SchedFIFO: 1, specs.SchedRR: 2, specs.SchedBatch: 3, specs.SchedISO: 4,
	specs.SchedIdle: 5, specs.SchedDeadline: 6,
}

var schedulerFlags = map[specs.LinuxSchedulerFlag]uint64{
	specs.SchedFlagResetOnFork: 0x01, specs.SchedFlagReclaim: 0x02, specs.SchedFlagDLOverrun: 0x04,
	specs.SchedFlagKeepPolicy: 0x08, specs.SchedFlagKeepParams: 0x10,
	specs.SchedFlagUtilClampMin: 0x20, specs.SchedFlagUtilClampMax: 0x40,
}

func (b *birth) scheduling(p *program) error {
	if io := b.process.IOPriority; io != nil {
		class, known := ioClasses[io.Class]
		if !known {
			return fmt.Errorf("unknown I/O priority class %q: %w", io.Class, errdefs.ErrInvalidArgument)
		}
		p.add("set I/O priority", unix.SYS_IOPRIO_SET, ioProcess, 0, uintptr(class<<ioClassShift|io.Priority))
	}
	s := b.process.Scheduler
	if s == nil {
		return nil
	}
	policy, known := schedulers[s.Policy]
	if !known {
		return fmt.Errorf("unknown scheduling policy %q: %w", s.Policy, errdefs.ErrInvalidArgument)
	}
	if s.Priority < 0 || int64(s.Priority) > math.MaxInt32 {
		return fmt.Errorf("scheduling priority %d: %w", s.Priority, errdefs.ErrInvalidArgument)
	}
	attr := &unix.SchedAttr{
		Size: unix.SizeofSchedAttr, Policy: policy, Nice: s.Nice, Priority: uint32(s.Priority),
		Runtime: s.Runtime, Deadline: s.Deadline, Period: s.Period,
	}
	for _, f := range s.Flags {
		bit, known := schedulerFlags[f]
		if !known {
			return fmt.Errorf("unknown scheduling flag %q: %w", f, errdefs.ErrInvalidArgument)
		}
		attr.Flags |= bit
	}
	p.add("set scheduling", unix.SYS_SCHED_SETATTR, 0, object(p, attr), 0)
	return nil
}
