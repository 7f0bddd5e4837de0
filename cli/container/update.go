package container

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/cove-containers/cove/cli/command"
	"github.com/cove-containers/cove/cli/opts"
	"github.com/moby/moby/api/types/container"
	"github.com/spf13/cobra"
)

func Update(a *command.App) *cobra.Command {
	u := &container.UpdateConfig{}
	var restart string
	var pids, kernel int64
	cmd := simple(a, "update", "[OPTIONS] ", "Update configuration of one or more containers", nil)
	fs := cmd.Flags()
	cmd.RunE = func(cmd *cobra.Command, args []string) (err error) {
		if fs.NFlag() == 0 {
			return errors.New("you must provide one or more flags when using this command")
		}
		if u.RestartPolicy, err = opts.ParseRestart(restart); err != nil {
			return err
		}
		if pids != 0 {
			u.PidsLimit = &pids
		}
		return update(cmd.Context(), a, args, *u)
	}
	fs.Uint16Var(&u.BlkioWeight, "blkio-weight", 0, "Relative weight for block IO, 10 to 1000, or 0 to disable")
	fs.Int64Var(&u.CPUPeriod, "cpu-period", 0, "Period of the CPU quota in microseconds")
	fs.Int64Var(&u.CPUQuota, "cpu-quota", 0, "CPU time in microseconds a period allows")
	fs.Int64Var(&u.CPURealtimePeriod, "cpu-rt-period", 0, "Period of the real-time CPU limit in microseconds")
	fs.Int64Var(&u.CPURealtimeRuntime, "cpu-rt-runtime", 0, "Real-time CPU microseconds a period allows")
	fs.Int64VarP(&u.CPUShares, "cpu-shares", "c", 0, "CPU shares (relative weight)")
	opts.CPUs(fs, &u.NanoCPUs, "cpus", "Number of CPUs")
	fs.StringVar(&u.CpusetCpus, "cpuset-cpus", "", "CPUs the container may use (0-3, 0,1)")
	fs.StringVar(&u.CpusetMems, "cpuset-mems", "", "Memory nodes the container may use (0-3, 0,1)")
	opts.Bytes(fs, &kernel, "kernel-memory", "", "Kernel memory limit")
	fs.Lookup("kernel-memory").Hidden = true
	opts.Bytes(fs, &u.Memory, "memory", "m", "Memory limit")
	opts.Bytes(fs, &u.MemoryReservation, "memory-reservation", "", "Memory soft limit")
	opts.SwapBytes(fs, &u.MemorySwap, "memory-swap", "", "Limit of memory and swap together: -1 for unlimited swap")
	fs.Int64Var(&pids, "pids-limit", 0, "Number of processes (-1 for unlimited)")
	fs.StringVar(&restart, "restart", "", "Restart policy to apply when the container exits")
	return cmd
}

func update(ctx context.Context, a *command.App, names []string, u container.UpdateConfig) error {
	daemon, err := a.Client()
	if err != nil {
		return err
	}
	var errs []error
	var warnings []string
	for _, name := range names {
		answer, err := daemon.ContainerUpdate(ctx, name, u)
		if err != nil {
			errs = append(errs, err)
		} else {
			fmt.Fprintln(a.Out, name)
		}
		warnings = append(warnings, answer.Warnings...)
	}
	if len(warnings) > 0 {
		fmt.Fprintln(a.Out, strings.Join(warnings, "\n"))
	}
	return errors.Join(errs...)
}
