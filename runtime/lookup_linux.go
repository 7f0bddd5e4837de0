package runtime

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/cove-containers/cove/runtime/account"
	"github.com/cove-containers/cove/sys"
)

// LookupUser finds who "name[:group]" and additional groups are in the container's root, and that user's home. What
// the root does not know is errdefs.ErrInvalidArgument.
func LookupUser(root *os.File, user string, groups []string) (specs.User, string, error) {
	id, err := account.Resolve(root, specs.User{}, user, groups)
	if err != nil {
		return specs.User{}, "", err
	}
	return specs.User{UID: id.UID, GID: id.GID, AdditionalGids: id.Groups}, id.Home, nil
}

// lookPath finds the program args[0] inside the root as a shell would, in the PATH of env.
func lookPath(root *os.File, cwd, program string, env []string) (string, error) {
	if program == "" {
		return "", &StartError{Code: codeNotFound, Err: errors.New(`exec: "": executable file not found in $PATH`)}
	}
	if strings.Contains(program, "/") {
		if err := executable(root, absolute(cwd, program)); err != nil {
			return "", execError(program, err)
		}
		return program, nil
	}
	denied := error(nil)
	for _, dir := range strings.Split(variable(env, "PATH"), ":") {
		candidate := absolute(cwd, path.Join(dir, program))
		err := executable(root, candidate)
		if err == nil {
			return candidate, nil
		}
		if errors.Is(err, unix.EACCES) {
			denied = err
		}
	}
	if denied != nil {
		return "", execError(program, denied)
	}
	return "", &StartError{Code: codeNotFound, Err: fmt.Errorf("exec: %q: executable file not found in $PATH", program)}
}

func absolute(cwd, name string) string {
	if path.IsAbs(name) {
		return name
	}
	return path.Join("/", cwd, name)
}

// executable says why name in root cannot be executed.
func executable(root *os.File, name string) error {
	f, err := sys.OpenPathInRoot(root, name, true)
	if err != nil {
		return err
	}
	defer f.Close()
	var st unix.Stat_t
	switch err := unix.Fstat(int(f.Fd()), &st); {
	case err != nil:
		return err
	case st.Mode&unix.S_IFMT == unix.S_IFDIR:
		return unix.EISDIR
	case st.Mode&unix.S_IFMT != unix.S_IFREG, st.Mode&0o111 == 0:
		return unix.EACCES
	}
	return nil
}

// variable is the value of the last entry for name.
func variable(env []string, name string) string {
	value := ""
	for _, e := range env {
		if v, ok := strings.CutPrefix(e, name+"="); ok {
			value = v
		}
	}
	return value
}

// Exit statuses of a shell for commands that do not run.
const (
	codeNotFound   = 127
	codeNotRunning = 126
)

// execError is a program that cannot run, with the exit status that says so.
func execError(program string, err error) error {
	var errno unix.Errno
	if !errors.As(err, &errno) {
		return &StartError{Err: fmt.Errorf("exec: %q: %w", program, err)}
	}
	return &StartError{Code: exitCode(errno), Err: fmt.Errorf("exec: %q: %w", program, errno)}
}

// exitCode is the status a shell gives for an error, 0 where it has none of its own.
func exitCode(err error) int {
	switch {
	case errors.Is(err, unix.ENOENT):
		return codeNotFound
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EISDIR), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ENOEXEC):
		return codeNotRunning
	}
	return 0
}
