package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// raced tells whether the programs are built with Go's race detector, which makes them several times as slow and as large:
// what a test says of that does not hold then.
func raced() bool { return os.Getenv("COVE_TEST_RACE") != "" }

// buildPrograms is the command that builds the programs into dir.
func buildPrograms(dir string) *exec.Cmd {
	cmd := exec.Command("go", "build", "-o", dir+"/", "../cmd/...")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if raced() {
		// The detector is written in C. Apart from it all is as in a release: Go's own resolver and users, and no shared
		// libraries, which a container that cove-runtime is the first process of does not have.
		cmd = exec.Command("go", "build", "-race", "-tags", "netgo,osusergo", "-ldflags", "-linkmode external -extldflags -static", "-o", dir+"/", "../cmd/...")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=1")
	}
	return cmd
}

// reportTo is an environment in which programs with the detector write what it finds to files in dir, and else do as they
// would without: they go on, and end with the status that is theirs, at once.
func reportTo(dir string) []string {
	if !raced() {
		return nil
	}
	known, err := filepath.Abs("testdata/races.txt")
	if err != nil {
		panic(err)
	}
	return []string{"GORACE=exitcode=0 atexit_sleep_ms=0 history_size=3 suppressions=" + known + " log_path=" + filepath.Join(dir, "race")}
}

// reports are those in dir.
func reports(dir string) []string {
	var out []string
	found, _ := filepath.Glob(filepath.Join(dir, "race.*"))
	for _, f := range found {
		text, err := os.ReadFile(f)
		if err != nil {
			text = []byte(err.Error())
		}
		out = append(out, fmt.Sprintf("%s:\n%s", filepath.Base(f), text))
	}
	return out
}

// crash is how a Go program begins to say that it ends in the middle of something, or that a request or the memory did.
var crash = regexp.MustCompile(`(?m)^(panic: |fatal error: |WARNING: DATA RACE|unexpected fault address |SIG[A-Z]+: )|http: panic serving`)

// crashes is what a program's log says from its first crash on, as much of it as anyone reads.
func crashes(log string) []string {
	at := crash.FindStringIndex(log)
	if at == nil {
		return nil
	}
	const most = 200
	lines := strings.SplitN(log[at[0]:], "\n", most+1)
	return []string{strings.Join(lines[:min(len(lines), most)], "\n")}
}

// brokenPrograms is what programs of this engine have said that they never should: the daemon in its log, supervisors in
// theirs, and all of them to the race detector.
func (e *Engine) brokenPrograms() []string {
	out := append(reports(e.Dir), crashes(e.log.String())...)
	for _, name := range []string{"shim/shim.log", "steps/shim.log"} {
		if text, err := os.ReadFile(filepath.Join(e.Dir, "run", name)); err == nil {
			out = append(out, crashes(string(text))...)
		}
	}
	return out
}

func TestCrashesAreSeen(t *testing.T) {
	for _, c := range []struct{ log, want string }{
		{"level=INFO msg=\"API listen\"\nlevel=ERROR msg=\"panic: in a container\"\n", ""},
		{"level=INFO msg=x\nfatal error: concurrent map writes\n\ngoroutine 7", "fatal error: concurrent map writes\n\ngoroutine 7"},
		{"a\npanic: assignment to entry in nil map\nb", "panic: assignment to entry in nil map\nb"},
		{"==================\nWARNING: DATA RACE\nRead at", "WARNING: DATA RACE\nRead at"},
		{"2026/01/02 http: panic serving @: boom\ngoroutine 1", "http: panic serving @: boom\ngoroutine 1"},
	} {
		if got := strings.Join(crashes(c.log), "|"); got != c.want {
			t.Errorf("crashes of %q: %q, want %q", c.log, got, c.want)
		}
	}
	e := &Engine{Dir: t.TempDir()}
	for _, f := range []string{"race.12", "run/shim/shim.log", "run/steps/shim.log"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(e.Dir, f)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(e.Dir, f), []byte("panic: "+f), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	e.log.Write([]byte("panic: coved"))
	if got := e.brokenPrograms(); len(got) != 4 {
		t.Errorf("seen: %q, want what four programs said", got)
	}
}
