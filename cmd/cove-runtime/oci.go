package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cove-containers/cove/release"
	"github.com/cove-containers/cove/runtime"
	"github.com/cove-containers/cove/sys"
)

// ociVersion is the newest version of the specification that is understood.
var ociVersion = specs.Version

// defaultRoot is where containers are kept track of.
const defaultRoot = "/run/cove-runtime"

// global are the flags before the verb.
type global struct {
	root, log, logFormat string
	systemd, debug       bool
	bundles              *runtime.Bundles
}

// verb is one OCI verb. It parses its own flags and gives the exit status.
type verb struct {
	name, arguments, about string
	run                    func(g *global, args []string) (int, error)
	// enters tells that it puts a process of its own into a container.
	enters bool
}

func verbs() []verb {
	return []verb{
		{"create", "ID", "make a container from a bundle", create, true},
		{"start", "ID", "let a created container run its program", start, false},
		{"run", "ID", "create, start, wait and delete", run, true},
		{"state", "ID", "print a container's state", state, false},
		{"kill", "ID [SIGNAL]", "send a signal, TERM if not named", kill, false},
		{"delete", "ID", "remove a stopped container", remove, false},
		{"exec", "ID COMMAND [ARG...]", "run a further process", execute, true},
		{"list", "", "list containers", list, false},
		{"ps", "ID", "list a container's processes", processes, false},
		{"pause", "ID", "freeze a container", func(g *global, args []string) (int, error) { return freeze(g, "pause", args, true) }, false},
		{"resume", "ID", "let a frozen container go on", func(g *global, args []string) (int, error) { return freeze(g, "resume", args, false) }, false},
		{"checkpoint", "ID", "keep a running container's state, by criu", checkpoint, false},
		{"restore", "ID", "make a container of such a state", restore, true},
		{"update", "ID", "change limits, given by flags or as JSON", update, false},
		{"spec", "", "write a config.json to begin with", writeSpec, false},
		{"features", "", "print what this runtime can do", features, false},
	}
}

// failed is the exit status of a verb that did not work out.
const failed = 1

func ociMain(args []string) int {
	g := &global{}
	flags := flag.NewFlagSet("cove-runtime", flag.ContinueOnError)
	flags.StringVar(&g.root, "root", defaultRoot, "`folder` for the state of containers")
	flags.StringVar(&g.log, "log", "", "`file` for error messages")
	flags.StringVar(&g.logFormat, "log-format", "text", "text or json")
	flags.BoolVar(&g.systemd, "systemd-cgroup", false, "let systemd make cgroups")
	flags.BoolVar(&g.debug, "debug", false, "accepted for compatibility")
	_ = flags.String("rootless", "auto", "accepted for compatibility")
	var version bool
	for _, name := range []string{"version", "v"} {
		flags.BoolVar(&version, name, false, "print the version")
	}
	flags.Usage = func() { usage(flags.Output(), flags) }
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return failed
	}
	if version { // in runc's lines, which engines read
		fmt.Printf("cove-runtime version %s\nspec: %s\n", release.Version, ociVersion)
		return 0
	}
	g.bundles = runtime.OpenBundles(g.root)
	g.bundles.Warn = func(text string) { g.write("warning", text) }
	for _, v := range verbs() {
		if v.name != flags.Arg(0) {
			continue
		}
		if v.enters {
			if err := sys.ProtectProgram(); err != nil {
				g.report(err)
				return failed
			}
		}
		code, err := v.run(g, flags.Args()[1:])
		switch {
		case errors.Is(err, flag.ErrHelp):
			return 0
		case err != nil:
			g.report(err)
			return max(code, failed)
		}
		return code
	}
	usage(os.Stderr, flags)
	return failed
}

func usage(w io.Writer, flags *flag.FlagSet) {
	fmt.Fprintln(w, "usage: cove-runtime [FLAGS] VERB [ARGUMENTS]")
	for _, v := range verbs() {
		fmt.Fprintf(w, "  %-10s %-20s %s\n", v.name, v.arguments, v.about)
	}
	flags.SetOutput(w)
	flags.PrintDefaults()
}

// report says what went wrong on standard error and, in the way callers of runc read it, in the log.
func (g *global) report(err error) {
	fmt.Fprintln(os.Stderr, "cove-runtime:", err)
	if g.log != "" {
		g.write("error", err.Error())
	}
}

// write adds a line to the log; without one it goes to standard error.
func (g *global) write(level, text string) {
	now := time.Now().Format(time.RFC3339)
	line := fmt.Sprintf("time=%q level=%s msg=%q\n", now, level, text)
	if g.logFormat == "json" {
		encoded, err := json.Marshal(map[string]string{"level": level, "msg": text, "time": now})
		if err == nil {
			line = string(encoded) + "\n"
		}
	}
	if g.log == "" {
		fmt.Fprint(os.Stderr, line)
		return
	}
	f, err := os.OpenFile(g.log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		fmt.Fprintln(os.Stderr, "cove-runtime:", err)
		return
	}
	defer f.Close()
	if _, err := f.WriteString(line); err != nil {
		fmt.Fprintln(os.Stderr, "cove-runtime:", err)
	}
}

// parse reads a verb's flags; what is left must begin with so many arguments.
func parse(flags *flag.FlagSet, args []string, least int) error {
	flags.SetOutput(os.Stderr)
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() < least {
		return fmt.Errorf("%s needs %d argument(s)", flags.Name(), least)
	}
	return nil
}

// parseAlone reads the flags of a verb that takes a container and nothing else.
func parseAlone(flags *flag.FlagSet, args []string) error {
	if err := parse(flags, args, 1); err != nil {
		return err
	}
	if flags.NArg() > 1 {
		return fmt.Errorf("%s takes one argument, and its flags before that: what is %q?", flags.Name(), flags.Arg(1))
	}
	return nil
}

// list of strings given by repeating a flag.
type texts []string

// String joins the values.
func (t *texts) String() string { return strings.Join(*t, ",") }

// Set adds a value.
func (t *texts) Set(v string) error {
	*t = append(*t, v)
	return nil
}

func printJSON(v any) error {
	e := json.NewEncoder(os.Stdout)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
