package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strconv"

	"github.com/docker/go-units"
	"github.com/opencontainers/runtime-spec/specs-go"
)

func update(g *global, args []string) (int, error) {
	flags := flag.NewFlagSet("update", flag.ContinueOnError)
	var file string
	for _, name := range []string{"resources", "r"} {
		flags.StringVar(&file, name, "", "`file` with the limits as JSON, - for standard input, which is read where no limit is given")
	}
	var r specs.LinuxResources
	limits(flags, &r)
	if err := parseAlone(flags, args); err != nil {
		return failed, err
	}
	if file == "" && flags.NFlag() == 0 {
		file = "-"
	}
	if file != "" {
		if flags.NFlag() > 1 {
			return failed, fmt.Errorf("update takes limits from a file or by flags, not both")
		}
		var err error
		if r, err = readLimits(file); err != nil {
			return failed, err
		}
	}
	leaveZeros(&r)
	return 0, g.bundles.Update(flags.Arg(0), &r)
}

func readLimits(file string) (specs.LinuxResources, error) {
	var r specs.LinuxResources
	in := os.Stdin
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return r, err
		}
		defer f.Close()
		in = f
	}
	if err := json.NewDecoder(in).Decode(&r); err != nil {
		return r, fmt.Errorf("read limits: %w", err)
	}
	return r, nil
}

// limits makes the flags by which runc is told of limits, which set fields of r.
func limits(flags *flag.FlagSet, r *specs.LinuxResources) {
	memory := func() *specs.LinuxMemory { return made(&r.Memory) }
	cpu := func() *specs.LinuxCPU { return made(&r.CPU) }
	for _, f := range []struct {
		name, about string
		set         func(text string) error
	}{
		{"memory", "memory in bytes, -1: no limit", func(s string) error { return size(s, &memory().Limit) }},
		{"memory-reservation", "memory that is left to it when others want more, in bytes", func(s string) error { return size(s, &memory().Reservation) }},
		{"memory-swap", "memory and swap together in bytes, -1: no limit", func(s string) error { return size(s, &memory().Swap) }},
		{"cpu-period", "microseconds in which cpu-quota may be used", func(s string) error { return natural(s, &cpu().Period) }},
		{"cpu-quota", "microseconds of CPU time in each period, -1: no limit", func(s string) error { return integer(s, &cpu().Quota) }},
		{"cpu-burst", "microseconds of CPU time that may be saved up", func(s string) error { return natural(s, &cpu().Burst) }},
		{"cpu-share", "weight against others", func(s string) error { return natural(s, &cpu().Shares) }},
		{"cpu-rt-period", "microseconds in which cpu-rt-runtime may be used", func(s string) error { return natural(s, &cpu().RealtimePeriod) }},
		{"cpu-rt-runtime", "microseconds of real-time CPU time in each period", func(s string) error { return integer(s, &cpu().RealtimeRuntime) }},
		{"cpuset-cpus", "CPUs to run on", func(s string) error { cpu().Cpus = s; return nil }},
		{"cpuset-mems", "memory nodes to use", func(s string) error { cpu().Mems = s; return nil }},
		{"pids-limit", "number of processes and threads, -1: no limit", func(s string) error { return integer(s, &made(&r.Pids).Limit) }},
		{"blkio-weight", "weight against others in block IO, 10 to 1000", func(s string) error { return weight(s, &made(&r.BlockIO).Weight) }},
	} {
		flags.Func(f.name, f.about, f.set)
	}
}

// made gives what *into points to, made where there is nothing.
func made[T any](into **T) *T {
	if *into == nil {
		*into = new(T)
	}
	return *into
}

func size(text string, into **int64) error {
	n := int64(-1)
	if text != "-1" {
		var err error
		if n, err = units.RAMInBytes(text); err != nil {
			return err
		}
	}
	*into = &n
	return nil
}

func integer(text string, into **int64) error {
	n, err := strconv.ParseInt(text, 10, 64)
	*into = &n
	return err
}

func natural(text string, into **uint64) error {
	n, err := strconv.ParseUint(text, 10, 64)
	*into = &n
	return err
}

func weight(text string, into **uint16) error {
	n, err := strconv.ParseUint(text, 10, 16)
	w := uint16(n)
	*into = &w
	return err
}

// leaveZeros takes out what is 0, by which those who update, as dockerd does, say that a limit stays as it is: with runc no such limit can be set.
func leaveZeros(r *specs.LinuxResources) {
	if m := r.Memory; m != nil {
		m.Limit, m.Reservation, m.Swap, m.KernelTCP = given(m.Limit), given(m.Reservation), given(m.Swap), given(m.KernelTCP)
	}
	if c := r.CPU; c != nil {
		c.Shares, c.Quota, c.Period = given(c.Shares), given(c.Quota), given(c.Period)
		c.RealtimeRuntime, c.RealtimePeriod = given(c.RealtimeRuntime), given(c.RealtimePeriod)
	}
	if r.Pids != nil {
		r.Pids.Limit = given(r.Pids.Limit)
	}
}

func given[T int64 | uint64](n *T) *T {
	if n != nil && *n == 0 {
		return nil
	}
	return n
}
