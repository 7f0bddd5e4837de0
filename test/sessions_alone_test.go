package test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// TestSessionsAlone has the stock docker 28 client and cove, called docker, run what needs no daemon, each in a folder of its own: the lines of
// testdata/sessions/alone, and every command of docker called wrongly: without arguments, with too many, and with an option it has not. What is
// not the same stands in testdata/sessions/differences/alone.
func TestSessionsAlone(t *testing.T) {
	t.Parallel()
	bin, err := binaries()
	if err != nil {
		t.Fatal(err)
	}
	calls := readSession(t, "testdata/sessions/alone/calls.txt")
	docker := &party{name: "docker28", client: docker28(t), home: t.TempDir()}
	wrong := wrongCalls(t, docker)
	if len(wrong.lines) < 250 {
		t.Errorf("only %d wrong calls", len(wrong.lines))
	}
	cove := &party{name: "cove", client: filepath.Join(bin, "cove"), home: t.TempDir()}
	var both sync.WaitGroup
	for _, p := range []*party{docker, cove} {
		p.engine = seat{socket: "/nowhere/s", data: "/nowhere/d", registry: "127.0.0.1:1"}
		p.answers = map[string][]answer{}
		links, work := t.TempDir(), t.TempDir()
		if err := errors.Join(os.Symlink(p.client, filepath.Join(links, "docker")), os.Mkdir(filepath.Join(work, "x"), 0o755)); err != nil {
			t.Fatal(err)
		}
		both.Go(func() {
			for _, s := range []dialogue{calls, wrong} {
				for _, line := range s.lines {
					p.answers[s.name] = append(p.answers[s.name], p.shell(t, work, p.home, links, "DOCKER_BUILDKIT=0", line))
				}
			}
		})
	}
	both.Wait()
	compareSessions(t, "alone", []dialogue{calls, wrong}, docker, cove)
}

// wrongCalls calls every command that docker's help shows wrongly, but for those that other programs carry out or that ask a registry or the user.
func wrongCalls(t *testing.T, docker *party) dialogue {
	t.Helper()
	wrong := dialogue{name: "wrong"}
	left := []string{"bake", "build", "builder", "buildx", "compose", "config", "login", "node", "secret", "service", "stack", "swarm", "trust", "completion", "help"}
	var ask func(path []string)
	ask = func(path []string) {
		line := strings.Join(append([]string{"docker"}, path...), " ")
		if len(path) > 0 {
			wrong.lines = append(wrong.lines, line+" --nope", line+" -Z")
			if leaf := path[len(path)-1]; !slices.Contains([]string{"version", "info", "prune"}, leaf) && line != "docker manifest create" {
				wrong.lines = append(wrong.lines, line, line+" 1 2 3 4 5 6 7")
			}
		}
		for _, l := range docker.help(t, path).out {
			if name, ok := strings.CutPrefix(l, "command "); ok && !slices.Contains(left, name) && line+" "+name != "docker volume update" {
				ask(append(path[:len(path):len(path)], name))
			}
		}
	}
	ask(nil)
	return wrong
}
