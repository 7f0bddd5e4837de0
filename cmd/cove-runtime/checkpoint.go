package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"

	"github.com/cove-containers/cove/runtime"
)

// checkpointFlags are those that checkpoint and restore have in common, by the names they have with runc.
func checkpointFlags(flags *flag.FlagSet) *runtime.CheckpointOptions {
	o := &runtime.CheckpointOptions{}
	flags.StringVar(&o.Images, "image-path", "checkpoint", "`folder` of the checkpoint")
	flags.StringVar(&o.Work, "work-path", "", "`folder` for what criu says")
	flags.BoolVar(&o.TCPEstablished, "tcp-established", false, "allow open TCP connections")
	flags.BoolVar(&o.ExternalSockets, "ext-unix-sk", false, "allow Unix sockets that are connected to the outside")
	flags.BoolVar(&o.ShellJob, "shell-job", false, "allow a session of the outside")
	flags.BoolVar(&o.FileLocks, "file-locks", false, "allow file locks")
	return o
}

func findCriu(o *runtime.CheckpointOptions) (err error) {
	if o.Criu, err = exec.LookPath("criu"); err != nil {
		return fmt.Errorf("checkpoints need criu: %w", err)
	}
	return nil
}

func checkpoint(g *global, args []string) (int, error) {
	flags := flag.NewFlagSet("checkpoint", flag.ContinueOnError)
	o := checkpointFlags(flags)
	flags.BoolVar(&o.LeaveRunning, "leave-running", false, "let the container go on")
	if err := parse(flags, args, 1); err != nil {
		return failed, err
	}
	if _, err := g.bundles.Load(flags.Arg(0)); err != nil {
		return failed, err // before folders are made
	}
	if err := findCriu(o); err != nil {
		return failed, err
	}
	for _, dir := range []string{o.Images, o.Work} {
		if dir == "" {
			continue
		}
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return failed, err
		}
	}
	return 0, g.bundles.Checkpoint(flags.Arg(0), *o)
}

func restore(g *global, args []string) (int, error) {
	flags, made := createFlags("restore", g)
	made.From = checkpointFlags(flags)
	var detach bool
	for _, name := range []string{"detach", "d"} {
		flags.BoolVar(&detach, name, false, "do not wait for the container")
	}
	if err := parse(flags, args, 1); err != nil {
		return failed, err
	}
	if err := findCriu(made.From); err != nil {
		return failed, err
	}
	if made.From.Work == "" {
		dir, err := os.MkdirTemp("", "cove-restore-")
		if err != nil {
			return failed, err
		}
		defer os.RemoveAll(dir)
		made.From.Work = dir
	}
	made.Attached = !detach && made.ConsoleSocket == ""
	c, err := g.bundles.Create(flags.Arg(0), *made)
	if err != nil || detach {
		return 0, describe("restore", err)
	}
	return see(g, flags.Arg(0), c, false)
}
