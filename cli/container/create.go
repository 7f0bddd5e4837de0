package container

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/containerd/errdefs"
	"github.com/cove-containers/cove/cli/command"
	"github.com/cove-containers/cove/cli/image"
	"github.com/cove-containers/cove/cli/opts"
	"github.com/cove-containers/cove/client"
	"github.com/cove-containers/cove/oci"
	"github.com/cove-containers/cove/ref"
	"github.com/moby/moby/api/types/container"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// creation is what create and run ask for besides the container itself.
type creation struct {
	settings             opts.Container
	name, pull, platform string
	quiet, socket        bool
}

func (c *creation) addFlags(fs *pflag.FlagSet) {
	fs.SetInterspersed(false)
	fs.StringVar(&c.name, "name", "", "Name of the container")
	fs.StringVar(&c.pull, "pull", "missing", `When to pull the image ("always", "missing", "never")`)
	fs.BoolVarP(&c.quiet, "quiet", "q", false, "Say nothing of the pull")
	fs.StringVar(&c.platform, "platform", command.DefaultPlatform(), "Platform of the image, when it has several")
	fs.BoolVar(&c.socket, "use-api-socket", false, "Give the container the daemon's socket and the credentials for registries")
	fs.Bool("help", false, "Print usage")
	c.settings.AddFlags(fs)
}

func Create(a *command.App) *cobra.Command {
	c := &creation{}
	cmd := &cobra.Command{
		Use:               "create [OPTIONS] IMAGE [COMMAND] [ARG...]",
		Short:             "Create a new container",
		Args:              command.AtLeast(1),
		Annotations:       command.Aliases("container create", "create"),
		ValidArgsFunction: a.CompleteImages,
		RunE: func(cmd *cobra.Command, args []string) error {
			daemon, settings, err := build(a, cmd.Flags(), c, args)
			if err != nil {
				return command.WithHelp(err, "create", 125)
			}
			id, err := create(cmd.Context(), a, daemon, c, settings)
			if err != nil {
				return err
			}
			fmt.Fprintln(a.Out, id)
			return nil
		},
	}
	c.addFlags(cmd.Flags())
	return cmd
}

// build puts the command line of create and run together, with the variables the configuration adds.
func build(a *command.App, fs *pflag.FlagSet, c *creation, args []string) (*client.Client, opts.Settings, error) {
	switch c.pull {
	case "always", "missing", "never", "":
	default:
		return nil, opts.Settings{}, fmt.Errorf(`invalid pull option: '%s': must be one of "always", "missing" or "never"`, c.pull)
	}
	daemon, err := a.Client()
	if err != nil {
		return nil, opts.Settings{}, err
	}
	settings, err := c.settings.Build(fs, args[0], args[1:])
	if err != nil {
		return nil, settings, err
	}
	settings.Config.Env = append(a.ConfigFile().ProxyEnv(daemon.Host(), settings.Config.Env), settings.Config.Env...)
	return daemon, settings, nil
}

// create makes the container, and pulls the image first when it has to.
func create(ctx context.Context, a *command.App, daemon *client.Client, c *creation, s opts.Settings) (string, error) {
	if c.platform != "" {
		if _, err := oci.ParsePlatform(c.platform); err != nil {
			return "", fmt.Errorf("error parsing specified platform: %w: invalid argument", err)
		}
	}
	var credentials []byte
	if c.socket {
		var err error
		if credentials, err = useSocket(a, daemon, s); err != nil {
			return "", err
		}
	}
	cid, err := openIDFile(s.HostConfig.ContainerIDFile)
	if err != nil {
		return "", err
	}
	defer cid.close()
	name, err := imageName(s.Config.Image)
	if err != nil {
		return "", err
	}
	pull := func() error { return image.Fetch(ctx, a, daemon, s.Config.Image, c.platform, c.quiet) }
	if c.pull == "always" {
		if err := pull(); err != nil {
			return "", err
		}
	}
	if h, w := a.Size(); s.Config.Tty {
		s.HostConfig.ConsoleSize = [2]uint{h, w}
	}
	request := client.CreateOptions{
		Name: c.name, Platform: c.platform, Config: s.Config, HostConfig: s.HostConfig, Networking: s.Networking,
	}
	made, err := makeContainer(ctx, daemon, request)
	if errdefs.IsNotFound(err) && name != "" && (c.pull == "missing" || c.pull == "") {
		if !c.quiet {
			fmt.Fprintf(a.Err, "Unable to find image '%s' locally\n", name)
		}
		if err := pull(); err != nil {
			return "", err
		}
		made, err = makeContainer(ctx, daemon, request)
	}
	if err != nil {
		return "", err
	}
	for _, w := range made.Warnings {
		a.Warn(w)
	}
	if credentials != nil {
		if err := putCredentials(context.WithoutCancel(ctx), daemon, made.ID, credentials); err != nil {
			return "", err
		}
	}
	return made.ID, cid.write(made.ID)
}

// makeContainer has the daemon make a container. A signal does not break the call off, for then nobody would know
// whether there is a container: it is taken away again.
func makeContainer(ctx context.Context, daemon *client.Client, request client.CreateOptions) (container.CreateResponse, error) {
	background := context.WithoutCancel(ctx)
	made, err := daemon.ContainerCreate(background, request)
	if err == nil && ctx.Err() != nil {
		_ = daemon.ContainerRemove(background, made.ID, client.RemoveOptions{Force: true, Volumes: true})
		err = ctx.Err()
	}
	return made, err
}

// imageName gives an image's name as users write it, with its tag; "" for an ID, which cannot be pulled.
func imageName(image string) (string, error) {
	if ref.IsHexID(image) {
		return "", nil
	}
	name, err := ref.ParseTagged(image)
	if err != nil {
		return "", err
	}
	return name.Familiar(), nil
}

// idFile is the file of --cidfile: made before the container, and taken away again when none comes.
type idFile struct {
	file    *os.File
	written bool
}

func openIDFile(path string) (*idFile, error) {
	if path == "" {
		return &idFile{}, nil
	}
	if _, err := os.Stat(path); err == nil {
		return nil, errors.New("container ID file found, make sure the other container isn't running or delete " + path)
	}
	f, err := os.Create(path)
	if err != nil {
		return nil, fmt.Errorf("failed to create the container ID file: %w", err)
	}
	return &idFile{file: f}, nil
}

func (f *idFile) write(id string) error {
	if f.file == nil {
		return nil
	}
	if _, err := f.file.WriteString(id); err != nil {
		return fmt.Errorf("failed to write the container ID (%s) to file: %w", id, err)
	}
	f.written = true
	return nil
}

func (f *idFile) close() {
	if f.file == nil {
		return
	}
	f.file.Close()
	if !f.written {
		os.Remove(f.file.Name())
	}
}
