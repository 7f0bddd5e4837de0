package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRun(t *testing.T) {
	f := newFake(t)
	f.script = script{stdout: "o\n", stderr: "e\n", code: 3}
	out, errs, code := f.cove(t.Context(), "", "run", "--rm", "busybox", "sh")
	if out != "o\n" || errs != "WARNING: careful\ne\n" || code != 3 {
		t.Errorf("got %q, %q, %d", out, errs, code)
	}
	if calls := f.seen(); strings.Count(calls, "|") != 3 {
		t.Errorf("run takes four calls, not %s", calls)
	}
}

func TestRunInput(t *testing.T) {
	f := newFake(t)
	f.script = script{echo: true}
	out, _, code := f.cove(t.Context(), "a\nb", "run", "-i", "busybox", "cat")
	if out != "a\nb" || code != 0 || !f.made.StdinOnce || !f.made.OpenStdin {
		t.Errorf("got %q, %d, %+v", out, code, f.made.Config)
	}
}

func TestRunOneStream(t *testing.T) {
	f := newFake(t)
	f.script = script{stdout: "o", code: 3}
	out, _, code := f.cove(t.Context(), "", "run", "-a", "stdout", "busybox")
	if out != "o" || code != 3 || f.made.AttachStderr {
		t.Errorf("got %q, %d", out, code)
	}
}

func TestRunDetached(t *testing.T) {
	f := newFake(t)
	out, _, code := f.cove(t.Context(), "", "run", "-d", "busybox")
	if out != "id\n" || code != 0 || f.made.AttachStdout {
		t.Errorf("got %q, %d", out, code)
	}
	if calls := f.seen(); calls != "POST /containers/create|POST /containers/id/start" {
		t.Error(calls)
	}
}

func TestRunPulls(t *testing.T) {
	f := newFake(t)
	f.script = script{stdout: "o"}
	out, errs, code := f.cove(t.Context(), "", "run", "alpine")
	if out != "o" || code != 0 || !strings.HasPrefix(errs, "Unable to find image 'alpine:latest' locally\nlatest: Pulling from x\nStatus: Downloaded\n") {
		t.Errorf("got %q, %q, %d", out, errs, code)
	}
	f = newFake(t)
	if _, errs, code := f.cove(t.Context(), "", "run", "--pull", "never", "alpine"); code != 125 || errs != "cove: Error response from daemon: No such image: alpine\n\nRun 'cove run --help' for more information\n" {
		t.Errorf("never: %q, %d", errs, code)
	}
	f = newFake(t)
	if _, _, code := f.cove(t.Context(), "", "run", "-d", "-q", "--pull", "always", "busybox"); code != 0 || !strings.HasPrefix(f.seen(), "POST /images/create|POST /containers/create") {
		t.Errorf("always: %s, %d", f.seen(), code)
	}
}

func TestRunExitCodes(t *testing.T) {
	for message, want := range map[string]int{
		`exec: "x": executable file not found in $PATH`:       127,
		`exec: "/x": stat /x: no such file or directory`:      127,
		`exec: "/etc": is a directory`:                        126,
		`exec: "/etc/passwd": permission denied`:              126,
		`Conflict. The container name "/x" is already in use`: 125,
	} {
		f := newFake(t)
		f.refuse["POST /containers/id/start"] = message
		_, errs, code := f.cove(t.Context(), "", "run", "busybox")
		if code != want || !strings.HasSuffix(errs, "cove: Error response from daemon: "+message+"\n\nRun 'cove run --help' for more information\n") {
			t.Errorf("%s: %q, %d", message, errs, code)
		}
	}
}

func TestRunRefusals(t *testing.T) {
	for _, c := range []struct {
		args, want string
		code       int
	}{
		{"run --nope busybox", "unknown flag: --nope\n\nUsage:  cove run [OPTIONS] IMAGE [COMMAND] [ARG...]\n\nRun 'cove run --help' for more information\n", 125},
		{"run", "cove: 'cove run' requires at least 1 argument\n\nUsage:  cove run [OPTIONS] IMAGE [COMMAND] [ARG...]\n\nSee 'cove run --help' for more information\n", 1},
		{"run -it busybox", "the input device is not a TTY\n", 1},
		{"run -d -a stdout busybox", "conflicting options: cannot specify both --attach and --detach\n", 1},
		{"run --rm --restart always busybox", "cove: conflicting options: cannot specify both --restart and --rm\n\nRun 'cove run --help' for more information\n", 125},
		{"run --pull foo busybox", "cove: invalid pull option: 'foo': must be one of \"always\", \"missing\" or \"never\"\n\nRun 'cove run --help' for more information\n", 125},
		{"run Foo", "cove: invalid reference format: repository name (library/Foo) must be lowercase\n\nRun 'cove run --help' for more information\n", 125},
		{"run --detach-keys foo busybox", "invalid detach keys (foo): Unknown character: 'foo'\n", 1},
		{"foo", "cove: unknown command: cove foo\n\nRun 'cove --help' for more information\n", 1},
		{"container foo", "cove: unknown command: cove container foo\n\nUsage:  cove container\n\nRun 'cove container --help' for more information\n", 1},
		{"ps x", "cove: 'cove ps' accepts no arguments\n\nUsage:  cove ps [OPTIONS]\n\nRun 'cove ps --help' for more information\n", 1},
		{"rename a", "cove: 'cove rename' requires 2 arguments\n\nUsage:  cove rename CONTAINER NEW_NAME\n\nRun 'cove rename --help' for more information\n", 1},
		{"swarm init", "cove: 'cove swarm' is not supported yet: swarm mode is still missing in Cove\n", 1},
		{"build --progress=loud .", "ERROR: invalid progress mode loud\n", 1},
		{"build -t Foo .", "ERROR: invalid tag \"Foo\": invalid reference format: repository name (library/Foo) must be lowercase\n", 1},
		{"build nowhere", "ERROR: unable to prepare context: path \"nowhere\" not found\n", 1},
		{"build", "cove: 'cove build' requires 1 argument\n\nUsage:  cove build [OPTIONS] PATH | URL | -\n\nRun 'cove build --help' for more information\n", 1},
	} {
		f := newFake(t)
		out, errs, code := f.cove(t.Context(), "", strings.Fields(c.args)...)
		if out != "" || errs != c.want || code != c.code || f.seen() != "" {
			t.Errorf("%s\n got %q %q %d, calls %s\nwant %q %d", c.args, out, errs, code, f.seen(), c.want, c.code)
		}
	}
}

func TestRunIDFile(t *testing.T) {
	f := newFake(t)
	path := filepath.Join(t.TempDir(), "cid")
	if _, _, code := f.cove(t.Context(), "", "run", "-d", "--cidfile", path, "busybox"); code != 0 {
		t.Fatal(code)
	}
	if raw, _ := os.ReadFile(path); string(raw) != "id" {
		t.Errorf("got %q", raw)
	}
	if _, errs, code := f.cove(t.Context(), "", "run", "-d", "--cidfile", path, "busybox"); code != 125 || !strings.Contains(errs, "container ID file found, make sure the other container isn't running or delete "+path) {
		t.Errorf("got %q, %d", errs, code)
	}
	path = filepath.Join(t.TempDir(), "none")
	if _, _, code := f.cove(t.Context(), "", "run", "-d", "--pull", "never", "--cidfile", path, "nosuch"); code != 125 {
		t.Error(code)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("a container that was not made has left its file")
	}
}

func TestExec(t *testing.T) {
	f := newFake(t)
	f.script = script{stdout: "o", stderr: "e", code: 5}
	out, errs, code := f.cove(t.Context(), "", "exec", "-e", "A=1", "-w", "/tmp", "-u", "1:2", "id", "ls", "-l")
	if out != "o" || errs != "e" || code != 5 || strings.Join(f.exec.Cmd, " ") != "ls -l" || f.exec.User != "1:2" || f.exec.WorkingDir != "/tmp" || f.exec.Env[0] != "A=1" {
		t.Errorf("got %q %q %d %+v", out, errs, code, f.exec)
	}
	if calls := f.seen(); calls != "POST /containers/id/exec|POST /exec/e/start|GET /exec/e/json" {
		t.Error(calls)
	}
	f = newFake(t)
	f.refuse["POST /containers/id/exec"] = "No such container: id"
	if _, errs, code := f.cove(t.Context(), "", "exec", "id", "ls"); code != 1 || errs != "Error response from daemon: No such container: id\n" {
		t.Error(errs, code)
	}
	f = newFake(t)
	f.refuse["POST /exec/e/start"] = `exec: "x": executable file not found in $PATH`
	if _, _, code := f.cove(t.Context(), "", "exec", "id", "x"); code != 127 {
		t.Error(code)
	}
}
