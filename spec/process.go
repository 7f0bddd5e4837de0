package spec

import (
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// defaultPath is what a container searches when its image says nothing.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

func process(s Settings, doc *specs.Spec) error {
	p := doc.Process
	p.Args = s.Args
	p.Cwd = s.Config.WorkingDir
	if p.Cwd == "" {
		p.Cwd = "/"
	}
	p.Terminal = s.Config.Tty
	p.Env = Environment(s.Hostname, s.Config.Tty, slices.Concat(s.Linked, s.Config.Env))
	p.OOMScoreAdj = &s.HostConfig.OomScoreAdj
	if size := s.HostConfig.ConsoleSize; s.Config.Tty && size[0] > 0 && size[1] > 0 {
		p.ConsoleSize = &specs.Box{Height: size[0], Width: size[1]}
	}
	if s.HostConfig.Umask != nil {
		p.User.Umask = s.HostConfig.Umask
	}
	doc.Domainname = s.Domainname
	doc.Annotations = s.HostConfig.Annotations
	return nil
}

// Environment is what a container's first process gets: defaults, then configured entries over them. An entry
// without "=" takes the variable away.
func Environment(hostname string, tty bool, configured []string) []string {
	env := []string{"PATH=" + defaultPath, "HOSTNAME=" + hostname}
	if tty {
		env = append(env, "TERM=xterm")
	}
	return Override(env, configured)
}

// Override lays entries over base, keeping base's order: NAME=VALUE replaces or adds, NAME alone removes.
func Override(base, entries []string) []string {
	env := append([]string(nil), base...)
	at := map[string]int{}
	for i, e := range env {
		name, _, _ := strings.Cut(e, "=")
		at[name] = i
	}
	gone := map[int]bool{}
	for _, e := range entries {
		name, _, set := strings.Cut(e, "=")
		i, known := at[name]
		switch {
		case !set && known:
			gone[i] = true
			delete(at, name)
		case set && known:
			env[i] = e
		case set:
			at[name] = len(env)
			env = append(env, e)
		}
	}
	kept := env[:0]
	for i, e := range env {
		if !gone[i] {
			kept = append(kept, e)
		}
	}
	return kept
}
