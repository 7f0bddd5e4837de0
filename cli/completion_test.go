package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cove-containers/cove/cli/command"
)

// TestBareBash sources the script into a bash without the package bash-completion, and asks it as the Tab key does.
func TestBareBash(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("there is no bash")
	}
	f := newFake(t)
	t.Cleanup(func() { command.Name = "cove" })
	for _, name := range []string{"cove", "docker"} {
		command.Name = name
		tabInBash(t, f, bash, name)
	}
}

// tabInBash does so with the script of the program called name.
func tabInBash(t *testing.T, f *fake, bash, name string) {
	script, _, code := f.cove(t.Context(), "", "completion", "bash")
	if code != 0 {
		t.Fatal(code)
	}
	dir := t.TempDir()
	for name, text := range map[string]string{
		"script": script,
		name:     "#!/bin/sh\necho \"$@\" >>" + dir + "/asked\nprintf 'app:1\\napp:2\\n:4\\n'\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for line, want := range map[string]string{"run ": "app:1 app:2", "run app:": "1 2", "run app:2": "2"} {
		cmd := exec.Command(bash, "--norc", "-c", `compopt() { :; }; source "$1/script"; COMP_LINE=$2 COMP_POINT=${#2}; COMP_WORDS=($2) COMP_CWORD=$((${#COMP_WORDS[@]}-1)) COMP_TYPE=9; "__start_${2%% *}"; echo ${COMPREPLY[@]}`, "bash", dir, name+" "+line)
		cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"))
		out, err := cmd.CombinedOutput()
		if err != nil || strings.TrimSpace(string(out)) != want {
			asked, _ := os.ReadFile(filepath.Join(dir, "asked"))
			t.Errorf("%q: %v: %s; asked %s", line, err, out, asked)
		}
	}
}
