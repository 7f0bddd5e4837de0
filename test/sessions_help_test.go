package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestHelpOfEveryCommand asks the stock docker 28 client and cove, called docker, for the help of every command that docker has, but for
// those of swarm mode, and with its plugin for builds. How it is called, its other names, its commands and its options are there; what is
// not stands in testdata/sessions/differences/help. Names of a value's kind that mean the same are taken for the same.
func TestHelpOfEveryCommand(t *testing.T) {
	t.Parallel()
	bin, err := binaries()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Symlink(filepath.Join(bin, "cove"), filepath.Join(dir, "docker")); err != nil {
		t.Fatal(err)
	}
	plugins := filepath.Join(dir, ".docker", "cli-plugins")
	if err := os.MkdirAll(plugins, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(buildx(t), filepath.Join(plugins, "docker-buildx")); err != nil {
		t.Fatal(err)
	}
	docker := &party{name: "docker28", client: docker28(t), home: dir, answers: map[string][]answer{}}
	cove := &party{name: "cove", client: filepath.Join(dir, "docker"), home: t.TempDir(), answers: map[string][]answer{}}
	help := dialogue{name: "help"}
	var ask func(path []string)
	ask = func(path []string) {
		a := docker.help(t, path)
		b := cove.help(t, path)
		if len(a.out) == 0 {
			return // the plugin wants a daemon to tell
		}
		help.lines = append(help.lines, strings.Join(append([]string{"docker"}, path...), " "))
		docker.answers["help"] = append(docker.answers["help"], a)
		cove.answers["help"] = append(cove.answers["help"], answer{out: slices.DeleteFunc(slices.Clone(a.out), func(line string) bool { return !slices.Contains(b.out, line) })})
		for _, line := range a.out {
			if name, ok := strings.CutPrefix(line, "command "); ok && slices.Contains(b.out, line) {
				ask(append(path[:len(path):len(path)], name))
			}
		}
	}
	ask(nil)
	if len(help.lines) < 90 {
		t.Errorf("only %d commands seen", len(help.lines))
	}
	compareSessions(t, "help", []dialogue{help}, docker, cove)
}

var (
	helpOption  = regexp.MustCompile(`^  (?:-(\w), |    )--([\w-]+)(?: ([\w<>=:|/-]+))?(?:   .*|)$`)
	kinds       = strings.NewReplacer("stringArray", "list", "strings", "list", "stringToString", "list", "map", "list", "ulimit", "list", "filter", "list", "ip", "string")
	helpCommand = regexp.MustCompile(`^  ([a-z-]+)\*? +\S`)
)

// help gives what a command's help says: "usage …", "alias …", "command …", "option -x --name type".
func (p *party) help(t *testing.T, path []string) answer {
	t.Helper()
	cmd := exec.Command(p.client, append(path[:len(path):len(path)], "--help")...)
	cmd.Env = []string{"HOME=" + p.home, "DOCKER_HOST=unix:///nowhere.sock", "PATH=" + os.Getenv("PATH")}
	text, err := cmd.CombinedOutput()
	if err != nil {
		return answer{}
	}
	var a answer
	heading := ""
	for _, line := range strings.Split(string(text), "\n") {
		switch {
		case strings.HasPrefix(line, "Usage:"):
			a.out = append(a.out, "usage"+strings.TrimPrefix(line, "Usage: "))
		case strings.HasSuffix(line, ":") && !strings.HasPrefix(line, " "):
			heading = strings.TrimSuffix(line, ":")
		case heading == "Aliases" && strings.HasPrefix(line, "  "):
			for _, alias := range strings.Split(line, ",") {
				a.out = append(a.out, "alias "+strings.TrimSpace(alias))
			}
		case strings.HasSuffix(heading, "Commands"):
			if m := helpCommand.FindStringSubmatch(line); m != nil {
				a.out = append(a.out, "command "+m[1])
			}
		case strings.HasSuffix(heading, "Options"):
			if m := helpOption.FindStringSubmatch(line); m != nil {
				short := m[1]
				if short != "" {
					short = "-" + short + " "
				}
				a.out = append(a.out, strings.TrimSpace("option "+short+"--"+m[2]+" "+kinds.Replace(m[3])))
			}
		}
	}
	// A command that is not there is answered with the help of the one above it.
	if usage := strings.Join(append([]string{"usage docker"}, path...), " "); len(a.out) == 0 || len(path) > 0 && a.out[0] != usage && !strings.HasPrefix(a.out[0], usage+" ") {
		return answer{}
	}
	return a
}
