package command

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
)

// elsewhere is the annotation of a command that another program carries out; its value is that program.
const elsewhere = "program"

// Elsewhere makes a command that hands its whole command line, with all that stands before it, to another program.
func (a *App) Elsewhere(program, use, short string) *cobra.Command {
	return &cobra.Command{
		Use:                use,
		Short:              short,
		DisableFlagParsing: true,
		Annotations:        map[string]string{elsewhere: program},
		RunE:               func(cmd *cobra.Command, _ []string) error { return a.RunElsewhere(cmd) },
		ValidArgsFunction: func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
			return a.completeElsewhere(program)
		},
	}
}

// IsElsewhere tells whether another program carries cmd out.
func IsElsewhere(cmd *cobra.Command) bool { return cmd.Annotations[elsewhere] != "" }

// RunElsewhere runs the program that carries cmd out, in place of this one where the system can do that.
func (a *App) RunElsewhere(cmd *cobra.Command) error {
	path, err := findProgram(cmd.Annotations[elsewhere])
	if err != nil {
		return &StatusError{Code: 1, Text: fmt.Sprintf("%s: '%s' needs %v", Name, cmd.CommandPath(), err)}
	}
	return become(path, Name, a.Args)
}

// findProgram looks for a program of the same package: beside this one, then where programs are.
func findProgram(name string) (string, error) {
	file := name
	if runtime.GOOS == "windows" {
		file += ".exe"
	}
	self, err := os.Executable()
	if err == nil {
		if real, err := filepath.EvalSymlinks(self); err == nil {
			self = real
		}
		beside := filepath.Join(filepath.Dir(self), file)
		if st, err := os.Stat(beside); err == nil && st.Mode().IsRegular() {
			return beside, nil
		}
	}
	path, err := exec.LookPath(name)
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("the program %s, which is neither beside %s nor in PATH: it is a part of Cove, install it with the rest", name, self)
	}
	return path, err
}

// completeElsewhere asks the program what could come next: it is called as this one was, and answers in the same form.
func (a *App) completeElsewhere(program string) ([]string, cobra.ShellCompDirective) {
	path, err := findProgram(program)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	out, err := exec.Command(path, a.Args...).Output()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return parseCompletions(out)
}

// parseCompletions reads what cobra prints for a shell: a line for each offer, and last a colon and the directive.
func parseCompletions(out []byte) ([]string, cobra.ShellCompDirective) {
	lines := strings.Split(string(bytes.TrimSpace(out)), "\n")
	last := lines[len(lines)-1]
	n, err := strconv.Atoi(strings.TrimPrefix(last, ":"))
	if err != nil || !strings.HasPrefix(last, ":") {
		return nil, cobra.ShellCompDirectiveError
	}
	return lines[:len(lines)-1], cobra.ShellCompDirective(n)
}
