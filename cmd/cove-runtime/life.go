package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"github.com/containerd/errdefs"

	"github.com/cove-containers/cove/runtime"
	"github.com/cove-containers/cove/sys"
)

// createFlags are those of create and run.
func createFlags(name string, g *global) (*flag.FlagSet, *runtime.CreateOptions) {
	o := &runtime.CreateOptions{SystemdCgroup: g.systemd}
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	for _, name := range []string{"bundle", "b"} {
		flags.StringVar(&o.Bundle, name, ".", "`folder` of the bundle")
	}
	flags.StringVar(&o.PidFile, "pid-file", "", "`file` to write the process's number to")
	flags.StringVar(&o.ConsoleSocket, "console-socket", "", "Unix `socket` to send the terminal to")
	flags.IntVar(&o.PreserveFDs, "preserve-fds", 0, "pass so many further descriptors on")
	_ = flags.Bool("no-pivot", false, "accepted for compatibility")
	_ = flags.Bool("no-new-keyring", false, "accepted for compatibility")
	_ = flags.Bool("no-subreaper", false, "accepted for compatibility")
	return flags, o
}

func create(g *global, args []string) (int, error) {
	flags, o := createFlags("create", g)
	if err := parseAlone(flags, args); err != nil {
		return failed, err
	}
	_, err := g.bundles.Create(flags.Arg(0), *o)
	return 0, describe("create", err)
}

// describe adds what callers of runc look for.
func describe(verb string, err error) error {
	if err == nil {
		return nil
	}
	var start *runtime.StartError
	if errors.As(err, &start) {
		return fmt.Errorf("runc %s failed: unable to start container process: %w", verb, err)
	}
	return err
}

func start(g *global, args []string) (int, error) {
	flags := flag.NewFlagSet("start", flag.ContinueOnError)
	if err := parseAlone(flags, args); err != nil {
		return failed, err
	}
	return 0, g.bundles.Start(flags.Arg(0))
}

func run(g *global, args []string) (int, error) {
	flags, o := createFlags("run", g)
	var detach, keep bool
	for _, name := range []string{"detach", "d"} {
		flags.BoolVar(&detach, name, false, "do not wait for the container")
	}
	flags.BoolVar(&keep, "keep", false, "do not delete the container afterwards")
	if err := parseAlone(flags, args); err != nil {
		return failed, err
	}
	id := flags.Arg(0)
	o.Attached = !detach && o.ConsoleSocket == ""
	c, err := g.bundles.Create(id, *o)
	if err != nil {
		return failed, describe("run", err)
	}
	if err := g.bundles.Start(id); err != nil {
		return failed, errors.Join(describe("run", err), g.bundles.Delete(id, true))
	}
	if detach {
		return 0, nil
	}
	return see(g, id, c, keep)
}

// see sees a container to its end and, unless it is to be kept, deletes it.
func see(g *global, id string, c *runtime.Container, keep bool) (int, error) {
	code, err := attend(&c.Process)
	if keep {
		return code, err
	}
	return code, errors.Join(err, g.bundles.Delete(id, true))
}

// attend forwards signals to a process, and its terminal, until it ends.
func attend(p *runtime.Process) (int, error) {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals)
	defer signal.Stop(signals)
	go func() {
		for s := range signals {
			switch s {
			case syscall.SIGCHLD, syscall.SIGURG, syscall.SIGWINCH, syscall.SIGPIPE:
			default:
				// An error means that it has ended, which Wait tells.
				_ = p.Kill(s.(syscall.Signal))
			}
		}
	}()
	status, err := runtime.Interactive(p)
	if err != nil {
		return failed, err
	}
	return status.Code, nil
}

func kill(g *global, args []string) (int, error) {
	flags := flag.NewFlagSet("kill", flag.ContinueOnError)
	var all bool
	for _, name := range []string{"all", "a"} {
		flags.BoolVar(&all, name, false, "signal every process of the container")
	}
	if err := parse(flags, args, 1); err != nil {
		return failed, err
	}
	name := flags.Arg(1)
	if name == "" {
		name = "TERM"
	}
	sig, err := parseSignal(name)
	if err != nil {
		return failed, err
	}
	return 0, g.bundles.Kill(flags.Arg(0), sig, all)
}

func parseSignal(name string) (syscall.Signal, error) {
	if n, err := strconv.Atoi(name); err == nil && n > 0 && n <= 64 {
		return syscall.Signal(n), nil
	}
	n := sys.SignalNumber("SIG" + strings.TrimPrefix(strings.ToUpper(name), "SIG"))
	if n == 0 {
		return 0, fmt.Errorf("unknown signal %q: %w", name, errdefs.ErrInvalidArgument)
	}
	return n, nil
}

func remove(g *global, args []string) (int, error) {
	flags := flag.NewFlagSet("delete", flag.ContinueOnError)
	var force bool
	for _, name := range []string{"force", "f"} {
		flags.BoolVar(&force, name, false, "kill the container first if it runs")
	}
	if err := parseAlone(flags, args); err != nil {
		return failed, err
	}
	return 0, g.bundles.Delete(flags.Arg(0), force)
}

func freeze(g *global, name string, args []string, frozen bool) (int, error) {
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	if err := parseAlone(flags, args); err != nil {
		return failed, err
	}
	return 0, g.bundles.Freeze(flags.Arg(0), frozen)
}
