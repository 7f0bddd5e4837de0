package container

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/cove-containers/cove/cli/command"
	"github.com/cove-containers/cove/cli/local"
	"github.com/cove-containers/cove/client"
	"github.com/spf13/cobra"
)

// copying is one run of cp.
type copying struct {
	app       *command.App
	daemon    *client.Client
	container string
	inside    string // the path in the container
	outside   string // the path here, "-" for a stream
	asUser    bool
	follow    bool
	quiet     bool
}

func Cp(a *command.App) *cobra.Command {
	k := copying{app: a}
	cmd := &cobra.Command{
		Use: `cp [OPTIONS] CONTAINER:SRC_PATH DEST_PATH|-
	` + command.Name + ` cp [OPTIONS] SRC_PATH|- CONTAINER:DEST_PATH`,
		Short: "Copy files/folders between a container and the local filesystem",
		Long: `Copy files/folders between a container and the local filesystem

Use '-' as the source to read a tar archive from stdin
and extract it to a directory destination in a container.
Use '-' as the destination to stream a tar archive of a
container source to stdout.`,
		Args:              command.Exactly(2),
		Annotations:       command.Aliases("container cp", "cp"),
		ValidArgsFunction: a.CompletePath,
	}
	cmd.RunE = a.Call(func(ctx context.Context, daemon *client.Client, args []string) error {
		k.daemon = daemon
		if !cmd.Flags().Changed("quiet") {
			k.quiet = !a.OutputIsTerminal()
		}
		return k.run(ctx, args[0], args[1])
	})
	fs := cmd.Flags()
	fs.BoolVarP(&k.asUser, "archive", "a", false, "Archive mode (copy all uid/gid information)")
	fs.BoolVarP(&k.follow, "follow-link", "L", false, "Always follow symbol link in SRC_PATH")
	fs.BoolVarP(&k.quiet, "quiet", "q", false, "Suppress progress output during copy. Progress output is automatically suppressed if no terminal is attached")
	return cmd
}

func (k *copying) run(ctx context.Context, from, to string) error {
	switch {
	case from == "":
		return errors.New("source can not be empty")
	case to == "":
		return errors.New("destination can not be empty")
	}
	source, sourcePath := splitPlace(from, runtime.GOOS == "windows")
	target, targetPath := splitPlace(to, runtime.GOOS == "windows")
	switch {
	case source != "" && target != "":
		return errors.New("copying between containers is not supported")
	case source != "":
		k.container, k.inside, k.outside = source, sourcePath, targetPath
		return k.out(ctx)
	case target != "":
		k.container, k.inside, k.outside = target, targetPath, sourcePath
		return k.in(ctx)
	}
	return errors.New("must specify at least one container source")
}

// splitPlace cuts CONTAINER:PATH. A path from the root or one that starts with a dot is one of this machine, whatever
// colons it has.
func splitPlace(arg string, windows bool) (container, p string) {
	if fromRoot(arg, windows) || arg[0] == '.' {
		return "", arg
	}
	container, p, inside := strings.Cut(arg, ":")
	if !inside {
		return "", arg
	}
	return container, p
}

// fromRoot tells whether a path begins at the root: on Windows at that of a drive, of a share or of the drive in use. No
// container has a name of one letter, so "c:/x" is never one.
func fromRoot(p string, windows bool) bool {
	if !windows {
		return strings.HasPrefix(p, "/")
	}
	slash := func(i int) bool { return len(p) > i && (p[i] == '/' || p[i] == '\\') }
	letter := len(p) > 1 && p[1] == ':' && ('a' <= p[0]|0x20 && p[0]|0x20 <= 'z')
	return slash(0) || letter && slash(2)
}

// out copies from the container.
func (k *copying) out(ctx context.Context) error {
	if k.outside != "-" {
		whole, err := local.Absolute(k.outside)
		if err != nil {
			return err
		}
		k.outside = whole
		if err := checkTarget(k.outside); err != nil {
			return err
		}
	}
	_, name := local.Split(k.inside)
	if k.follow {
		if st, err := k.daemon.ContainerStat(ctx, k.container, k.inside); err == nil && st.Mode&fs.ModeSymlink != 0 {
			k.inside = linked(k.inside, st.LinkTarget)
		}
	}
	archive, st, err := k.daemon.CopyFromContainer(ctx, k.container, k.inside)
	if err != nil {
		return err
	}
	defer archive.Close()
	if k.outside == "-" {
		_, err = io.Copy(k.app.Out, archive)
		return err
	}
	target, err := local.Target(k.outside)
	if err != nil {
		return err
	}
	dir, called, err := local.Place(local.Node{Path: k.inside, Exists: true, IsDir: st.Mode.IsDir()}, name, target)
	if err != nil {
		return err
	}
	p := k.progress("Copying from container")
	defer p.end()
	if err := local.Unpack(p.reader(archive), dir, st.Name, called); err != nil {
		return err
	}
	p.done(k.outside)
	return nil
}

// checkTarget refuses a place here that nothing can be copied to.
func checkTarget(p string) error {
	if dir := filepath.Dir(filepath.Clean(p)); dir != "." {
		if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("invalid output path: directory %q does not exist", dir)
		}
	}
	if info, err := os.Stat(p); err == nil {
		if kind := oddKind(info.Mode()); kind != "" {
			return fmt.Errorf("invalid output path: %q must be a directory or a regular file: got %s", p, kind)
		}
	}
	return nil
}

// oddKind names what is neither a directory nor a regular file.
func oddKind(m fs.FileMode) string {
	switch {
	case m&fs.ModeDevice != 0:
		return "a device"
	case m&fs.ModeIrregular != 0:
		return "an irregular file"
	}
	return ""
}

// linked is where a link at p leads.
func linked(p, target string) string {
	if path.IsAbs(target) {
		return target
	}
	dir, _ := local.Split(p)
	return path.Join(dir, target)
}

// in copies into the container.
func (k *copying) in(ctx context.Context) error {
	source, name := local.Node{}, ""
	if k.outside != "-" {
		whole, err := local.Absolute(k.outside)
		if err != nil {
			return err
		}
		if source, name, err = local.Source(whole, k.follow); err != nil {
			return err
		}
	}
	target, err := k.target(ctx)
	if err != nil {
		return err
	}
	if k.outside == "-" {
		if !target.IsDir {
			return fmt.Errorf(`destination "%s:%s" must be a directory`, k.container, k.inside)
		}
		return k.send(ctx, target.Path, k.app.In)
	}
	dir, called, err := local.Place(source, name, target)
	if err != nil {
		return err
	}
	read, write := io.Pipe()
	packed := make(chan error, 1)
	go func() {
		err := local.Pack(write, source.Path, called)
		write.CloseWithError(err)
		packed <- err
	}()
	err = k.send(ctx, dir, read)
	read.CloseWithError(errStopped)
	// Of the two failures the one that came first caused the other.
	if packErr := <-packed; packErr != nil && !errors.Is(packErr, errStopped) {
		return packErr
	}
	return err
}

var errStopped = errors.New("the copy has ended")

// target finds where in the container to copy to. What cannot be looked at is taken to be absent: if its directory is
// there, it will be made.
func (k *copying) target(ctx context.Context) (local.Node, error) {
	target := local.Node{Path: k.inside}
	st, err := k.daemon.ContainerStat(ctx, k.container, k.inside)
	if err == nil && st.Mode&fs.ModeSymlink != 0 {
		target.Path = linked(k.inside, st.LinkTarget)
		st, err = k.daemon.ContainerStat(ctx, k.container, target.Path)
	}
	if err == nil {
		if kind := oddKind(st.Mode); kind != "" {
			return target, fmt.Errorf(`destination "%s:%s" must be a directory or a regular file: got %s`, k.container, k.inside, kind)
		}
		target.Exists, target.IsDir = true, st.Mode.IsDir()
	}
	var refused *client.Error
	if err != nil && !errors.As(err, &refused) {
		return target, err
	}
	return target, nil
}

func (k *copying) send(ctx context.Context, dir string, archive io.Reader) error {
	p := k.progress("Copying to container")
	defer p.end()
	if err := k.daemon.CopyToContainer(ctx, k.container, dir, p.reader(archive), client.CopyToOptions{AsUser: k.asUser}); err != nil {
		return err
	}
	p.done(k.container + ":" + k.inside)
	return nil
}
