package command

import (
	"errors"
	"os"
	"os/exec"
)

// become runs another program and ends as it does. A console's Ctrl-C reaches both; this one waits for the other.
func become(path, name string, args []string) error {
	cmd := exec.Command(path, args...)
	cmd.Args[0] = name
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return Exit(exit.ExitCode())
	}
	return err
}
