package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestCompletion presses the Tab key in bash, zsh and fish, each with the script that cove and cove called docker give for it, beside an engine that
// has something of every kind. A list that ends in "…" is of those that must be among what is offered.
func TestCompletion(t *testing.T) {
	t.Parallel()
	needRoot(t)
	images(t)
	e := newEngine(t)
	e.Start()
	e.Load("busybox")
	e.Run("cove", "tag", "busybox", "app:1")
	e.Run("cove", "run", "-d", "--name", "web", "-v", "data:/data", "busybox", "sleep", "1000")
	e.Run("cove", "create", "--name", "old", "busybox")
	e.Run("cove", "network", "create", "lan")
	e.Run("cove", "context", "create", "far", "--docker", "host=tcp://192.0.2.1:2375")
	dir := t.TempDir()
	if err := os.Symlink(filepath.Join(e.Bin, "cove"), filepath.Join(dir, "docker")); err != nil {
		t.Fatal(err)
	}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		t.Run(shell, func(t *testing.T) {
			program, err := exec.LookPath(shell)
			if err != nil {
				t.Skipf("%s is not installed: there is nobody to complete", shell)
			}
			for _, name := range []string{"cove", "docker"} {
				k := keyboard{e, shell, program, dir, filepath.Join(dir, shell+"-"+name)}
				script, _, code := e.Try("sh", "-c", "PATH="+dir+":$PATH; "+name+" completion "+shell)
				if code != 0 {
					t.Fatalf("%s completion %s: %d", name, shell, code)
				}
				if err := os.WriteFile(k.script, []byte(script), 0o644); err != nil {
					t.Fatal(err)
				}
				k.expect(t, name)
			}
		})
	}
}

// keyboard is where completions are asked for.
type keyboard struct {
	e                           *Engine
	shell, program, dir, script string
}

func (k keyboard) expect(t *testing.T, name string) {
	for line, want := range map[string]string{
		"rm ":                          "old web",
		"stop ":                        "web",
		"start ":                       "old",
		"container exec ":              "web",
		"rmi ":                         "app:1 busybox:latest",
		"run bu":                       "busybox:latest",
		"volume rm ":                   "data",
		"volume inspect da":            "data",
		"network rm l":                 "lan",
		"network connect lan ":         "old web",
		"context use ":                 "default far",
		"inspect we":                   "web",
		"run --network ":               "bridge container: host lan none",
		"run --network l":              "lan",
		"run --netw":                   "--network --network-alias",
		"run --rm --volumes-from ":     "old web",
		"run --restart ":               "always no on-failure unless-stopped",
		"run --restart=":               "always no on-failure unless-stopped",
		"run --log-driver js":          "json-file",
		"--context ":                   "default far",
		"ps --format ":                 "json table",
		"ps --filter status=r":         "removing restarting running",
		"images --tr":                  "--tree",
		"plugin en":                    "enable",
		"kill --signal KI":             "KILL",
		"checkpoint ":                  "create ls rm",
		"system pru":                   "prune",
		"build --progress ":            "auto plain quiet rawjson tty",
		"ru":                           "run",
		"cp we":                        "web:",
		"container update --cpus 1 ol": "old",
	} {
		if name != "cove" && !slices.Contains([]string{"rm ", "run bu", "run --restart=", "build --progress ", "ps --filter status=r"}, line) {
			continue // the script is the same but for the name
		}
		words := strings.Fields(want)
		slices.Sort(words)
		if got := k.tab(t, name+" "+line); !slices.Equal(got, words) {
			t.Errorf("%s: %s %s\n got %s\nwant %s", k.shell, name, line, got, words)
		}
	}
}

// tab gives what is offered behind line, sorted.
func (k keyboard) tab(t *testing.T, line string) []string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "offers")
	args := map[string][]string{"bash": {"--norc"}, "zsh": {"-f"}, "fish": {"--no-config"}}[k.shell]
	ask, err := filepath.Abs(filepath.Join("testdata/completion", k.shell))
	if err != nil {
		t.Fatal(err)
	}
	cmd := k.e.Command(append(append([]string{k.program}, args...), ask, k.script, line, file)...)
	cmd.Dir = t.TempDir() // which has no files to offer
	cmd.Env = append(cmd.Env, "PATH="+k.dir+":"+k.e.Bin+":"+os.Getenv("PATH"), "TERM=xterm")
	cmd.WaitDelay = 10 * time.Second
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%s: %s: %v: %s", k.shell, line, err, out)
	}
	text, _ := os.ReadFile(file)
	var offers []string
	for offer := range strings.SplitSeq(strings.TrimSpace(string(text)), "\n") {
		offer, _, _ = strings.Cut(offer, "\t")
		offer, _, _ = strings.Cut(offer, " ")
		if _, value, found := strings.Cut(offer, "="); found { // some shells offer the whole word
			offer = value
		}
		if offer = strings.ReplaceAll(offer, `\:`, ":"); offer != "" {
			offers = append(offers, offer)
		}
	}
	slices.Sort(offers)
	return slices.Compact(offers)
}
