package registry

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"

	"github.com/cove-containers/cove/cli/command"
	"github.com/spf13/cobra"
)

// Serve hands over to coved, which knows the flags: this process becomes the registry.
func Serve(a *command.App) *cobra.Command {
	return &cobra.Command{
		Use:                "serve [OPTIONS]",
		Short:              "Run a registry",
		Long:               "Run a registry until it is interrupted. \"cove registry serve --help\" lists the options.",
		DisableFlagParsing: true,
		RunE: func(_ *cobra.Command, args []string) error {
			if runtime.GOOS != "linux" {
				return errors.New("a registry runs on Linux only; any other machine can use it")
			}
			daemon, err := findDaemon()
			if err != nil {
				return err
			}
			a.Close()
			err = syscall.Exec(daemon, append([]string{daemon, "registry", "serve"}, args...), os.Environ())
			return fmt.Errorf("start %s: %w", daemon, err)
		},
	}
}

// findDaemon looks for coved beside this program, then in PATH.
func findDaemon() (string, error) {
	if own, err := os.Executable(); err == nil {
		if own, err = filepath.EvalSymlinks(own); err == nil {
			beside := filepath.Join(filepath.Dir(own), "coved")
			if _, err := os.Stat(beside); err == nil {
				return beside, nil
			}
		}
	}
	found, err := exec.LookPath("coved")
	if err != nil {
		return "", errors.New("coved, which has the registry in it, is neither beside cove nor in PATH")
	}
	return filepath.Abs(found)
}
