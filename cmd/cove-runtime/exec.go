package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cove-containers/cove/runtime"
)

// execFlags are exec's own flags; what they do not say the container's own process does.
type execFlags struct {
	options                runtime.ExecOptions
	process, cwd           string
	env, caps              texts
	groups                 texts
	terminal, detach       bool
	noNewPrivs, ignoreRest bool
}

func (e *execFlags) define() *flag.FlagSet {
	flags := flag.NewFlagSet("exec", flag.ContinueOnError)
	text := func(into *string, about string, names ...string) {
		for _, n := range names {
			flags.StringVar(into, n, "", about)
		}
	}
	yes := func(into *bool, about string, names ...string) {
		for _, n := range names {
			flags.BoolVar(into, n, false, about)
		}
	}
	many := func(into *texts, about string, names ...string) {
		for _, n := range names {
			flags.Var(into, n, about)
		}
	}
	text(&e.options.ConsoleSocket, "Unix `socket` to send the terminal to", "console-socket")
	text(&e.options.PidFile, "`file` to write the process's number to", "pid-file")
	text(&e.process, "`file` with the process as JSON", "process", "p")
	text(&e.cwd, "working `folder`", "cwd")
	text(&e.options.User, "`user[:group]`", "user", "u")
	many(&e.env, "`NAME=VALUE` to set", "env", "e")
	many(&e.caps, "`capability` to add", "cap", "c")
	many(&e.groups, "additional `group`", "additional-gids", "g")
	yes(&e.terminal, "with a terminal", "tty", "t")
	yes(&e.detach, "do not wait for the process", "detach", "d")
	yes(&e.noNewPrivs, "no new privileges", "no-new-privs")
	yes(&e.ignoreRest, "accepted for compatibility", "ignore-paused")
	return flags
}

func execute(g *global, args []string) (int, error) {
	var e execFlags
	flags := e.define()
	if err := parse(flags, args, 1); err != nil {
		return failed, err
	}
	id := flags.Arg(0)
	o := e.options
	o.Groups = e.groups
	o.Attached = !e.detach && o.ConsoleSocket == ""
	var err error
	if o.Process, err = e.describe(g, id, flags.Args()[1:]); err != nil {
		return failed, err
	}
	p, err := g.bundles.Exec(id, o)
	if err != nil {
		return 255, describe("exec", err)
	}
	if e.detach {
		return 0, nil
	}
	return attend(p)
}

// describe makes the process from a file, or from the container's own and the flags.
func (e *execFlags) describe(g *global, id string, command []string) (specs.Process, error) {
	var p specs.Process
	if e.process != "" {
		text, err := os.ReadFile(e.process)
		if err != nil {
			return p, err
		}
		if err := json.Unmarshal(text, &p); err != nil {
			return p, fmt.Errorf("read process: %w", err)
		}
		return p, nil
	}
	if len(command) == 0 {
		return p, fmt.Errorf("exec needs a command")
	}
	p, err := g.bundles.Defaults(id)
	if err != nil {
		return p, err
	}
	p.Args, p.Terminal = command, e.terminal
	p.Env = append(append([]string{}, p.Env...), e.env...)
	p.NoNewPrivileges = p.NoNewPrivileges || e.noNewPrivs
	if e.cwd != "" {
		p.Cwd = e.cwd
	}
	if len(e.caps) > 0 && p.Capabilities != nil {
		all := *p.Capabilities
		for _, list := range []*[]string{&all.Bounding, &all.Effective, &all.Permitted} {
			*list = append([]string{}, *list...)
			for _, c := range e.caps {
				*list = append(*list, "CAP_"+strings.TrimPrefix(strings.ToUpper(c), "CAP_"))
			}
		}
		p.Capabilities = &all
	}
	return p, nil
}
