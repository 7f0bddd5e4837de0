package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	ocifeatures "github.com/opencontainers/runtime-spec/specs-go/features"

	"github.com/cove-containers/cove/runtime"
	"github.com/cove-containers/cove/sys"
)

func state(g *global, args []string) (int, error) {
	flags := flag.NewFlagSet("state", flag.ContinueOnError)
	if err := parse(flags, args, 1); err != nil {
		return failed, err
	}
	r, err := g.bundles.Load(flags.Arg(0))
	if err != nil {
		return failed, err
	}
	r.Spec = nil
	return 0, printJSON(r)
}

func list(g *global, args []string) (int, error) {
	flags := flag.NewFlagSet("list", flag.ContinueOnError)
	var format string
	var quiet bool
	for _, name := range []string{"format", "f"} {
		flags.StringVar(&format, name, "table", "table or json")
	}
	for _, name := range []string{"quiet", "q"} {
		flags.BoolVar(&quiet, name, false, "IDs only")
	}
	if err := parse(flags, args, 0); err != nil {
		return failed, err
	}
	all, err := g.bundles.List()
	if err != nil {
		return failed, err
	}
	for _, r := range all {
		r.Spec = nil
	}
	switch {
	case quiet:
		for _, r := range all {
			fmt.Println(r.ID)
		}
	case format == "json":
		return 0, json.NewEncoder(os.Stdout).Encode(all)
	case format != "table":
		return failed, fmt.Errorf("invalid format option %q", format)
	default:
		return 0, table(all)
	}
	return 0, nil
}

func table(all []*runtime.Record) error {
	w := tabwriter.NewWriter(os.Stdout, 12, 1, 3, ' ', 0)
	fmt.Fprintln(w, "ID\tPID\tSTATUS\tBUNDLE\tCREATED\tOWNER")
	for _, r := range all {
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\t%s\n", r.ID, r.Pid, r.Status, r.Bundle, r.Created.Format(time.RFC3339Nano), r.Owner)
	}
	return w.Flush()
}

func processes(g *global, args []string) (int, error) {
	flags := flag.NewFlagSet("ps", flag.ContinueOnError)
	var format string
	for _, name := range []string{"format", "f"} {
		flags.StringVar(&format, name, "table", "table or json")
	}
	if err := parse(flags, args, 1); err != nil {
		return failed, err
	}
	pids, err := g.bundles.Pids(flags.Arg(0))
	if err != nil {
		return failed, err
	}
	if format == "json" {
		return 0, json.NewEncoder(os.Stdout).Encode(pids)
	}
	fmt.Println("PID")
	for _, pid := range pids {
		fmt.Println(pid)
	}
	return 0, nil
}

func writeSpec(g *global, args []string) (int, error) {
	flags := flag.NewFlagSet("spec", flag.ContinueOnError)
	var bundle string
	for _, name := range []string{"bundle", "b"} {
		flags.StringVar(&bundle, name, ".", "`folder` of the bundle")
	}
	if err := parse(flags, args, 0); err != nil {
		return failed, err
	}
	text, err := json.MarshalIndent(runtime.Example(), "", "\t")
	if err != nil {
		return failed, err
	}
	f, err := os.OpenFile(strings.TrimSuffix(bundle, "/")+"/config.json", os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return failed, err
	}
	_, err = f.Write(append(text, '\n'))
	return 0, errors.Join(err, f.Close())
}

func features(g *global, args []string) (int, error) {
	yes, no := true, false
	f := ocifeatures.Features{
		OCIVersionMin: "1.0.0", OCIVersionMax: ociVersion,
		Hooks:        []string{"prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"},
		MountOptions: runtime.MountOptions(),
		Linux: &ocifeatures.Linux{
			Namespaces:   []string{"cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"},
			Capabilities: sys.Capabilities(),
			Cgroup:       &ocifeatures.Cgroup{V1: &yes, V2: &yes, Systemd: &yes, SystemdUser: &no, Rdma: &yes},
			Seccomp: &ocifeatures.Seccomp{
				Enabled:   &yes,
				Actions:   []string{"SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_LOG", "SCMP_ACT_TRACE", "SCMP_ACT_TRAP"},
				Operators: []string{"SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_LE", "SCMP_CMP_LT", "SCMP_CMP_MASKED_EQ", "SCMP_CMP_NE"},
				Archs:     []string{"SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM", "SCMP_ARCH_X32", "SCMP_ARCH_X86", "SCMP_ARCH_X86_64"},
			},
			Apparmor: &ocifeatures.Apparmor{Enabled: &yes}, Selinux: &ocifeatures.Selinux{Enabled: &no},
			IntelRdt: &ocifeatures.IntelRdt{Enabled: &no}, MountExtensions: &ocifeatures.MountExtensions{IDMap: &ocifeatures.IDMap{Enabled: &yes}},
		},
	}
	return 0, printJSON(f)
}
