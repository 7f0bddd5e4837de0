package plugin

import (
	"context"
	"errors"
	"fmt"

	"github.com/cove-containers/cove/cli/command"
	"github.com/cove-containers/cove/cli/format"
	"github.com/cove-containers/cove/client"
	"github.com/cove-containers/cove/ref"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// fetching is what install and upgrade ask of a registry.
type fetching struct {
	remote, name string
	granted      bool // whatever the plugin wants to be allowed, it is
}

func (f *fetching) flags(fs *pflag.FlagSet) {
	fs.BoolVar(&f.granted, "grant-all-permissions", false, "Allow the plugin all that it asks for")
	unsigned(fs, "Skip image verification (deprecated)")
}

// unsigned takes the flag of signatures, which docker has no more.
func unsigned(fs *pflag.FlagSet, usage string) {
	fs.Bool("disable-content-trust", true, usage)
	fs.Lookup("disable-content-trust").Hidden = true
}

func Install(a *command.App) *cobra.Command {
	var f fetching
	var disabled bool
	cmd := &cobra.Command{
		Use:               "install [OPTIONS] PLUGIN [KEY=VALUE...]",
		Short:             "Install a plugin",
		Args:              command.AtLeast(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: a.Call(func(ctx context.Context, daemon *client.Client, args []string) error {
			if f.name != "" {
				alias, err := localName(f.name)
				if err != nil {
					return err
				}
				f.name = alias.Familiar()
			}
			given := args[0]
			o, err := f.ask(ctx, a, daemon, given, "installing")
			if err != nil {
				return err
			}
			if err := daemon.PluginPull(ctx, o, format.NewProgress(a.Out, a.Stdout).Show); err != nil {
				return err
			}
			name := o.Name
			if name == "" {
				name = given
			}
			if err := configure(ctx, daemon, name, args[1:], disabled); err != nil {
				return err
			}
			fmt.Fprintln(a.Out, "Installed plugin", given)
			return nil
		}),
	}
	fs := cmd.Flags()
	fs.StringVar(&f.name, "alias", "", "Local name for plugin")
	fs.BoolVar(&disabled, "disable", false, "Do not enable the plugin on install")
	f.flags(fs)
	return cmd
}

// configure gives a new plugin its settings and starts it; when that fails the plugin stays as it is.
func configure(ctx context.Context, daemon *client.Client, name string, settings []string, disabled bool) error {
	if len(settings) > 0 {
		if err := daemon.PluginSet(ctx, name, settings); err != nil {
			return err
		}
	}
	if disabled {
		return nil
	}
	return daemon.PluginEnable(ctx, name, 0)
}

// ask finds out what a plugin wants to be allowed, and has the user allow it.
func (f *fetching) ask(ctx context.Context, a *command.App, daemon *client.Client, remote, doing string) (client.PluginPullOptions, error) {
	name, err := ref.Parse(remote)
	if err != nil {
		return client.PluginPullOptions{}, err
	}
	o := client.PluginPullOptions{Remote: name.String(), Name: f.name}
	if o.Auth, err = a.RegistryAuth(name.Host); err != nil {
		return o, err
	}
	if o.Privileges, err = daemon.PluginPrivileges(ctx, o.Remote, o.Auth); err != nil {
		return o, err
	}
	if f.granted || len(o.Privileges) == 0 {
		return o, nil
	}
	fmt.Fprintf(a.Out, "Plugin %q is requesting the following privileges:\n", remote)
	for _, p := range o.Privileges {
		fmt.Fprintf(a.Out, " - %s: %v\n", p.Name, p.Value)
	}
	yes, err := a.Confirm(ctx, "Do you grant the above permissions?")
	if err == nil && !yes {
		err = fmt.Errorf("permission denied while %s plugin %s", doing, o.Remote)
	}
	return o, err
}

// localName reads a name without a digest, and gives it the usual tag if it has none.
func localName(text string) (ref.Name, error) {
	name, err := ref.Parse(text)
	if err == nil && name.Digest != "" {
		err = fmt.Errorf("invalid name: %s", text)
	}
	if err == nil && name.Tag == "" {
		name = name.WithDefaultTag()
	}
	return name, err
}

func Upgrade(a *command.App) *cobra.Command {
	var f fetching
	var unchecked bool
	cmd := &cobra.Command{
		Use:               "upgrade [OPTIONS] PLUGIN [REMOTE]",
		Short:             "Upgrade an existing plugin",
		Args:              command.Between(1, 2),
		ValidArgsFunction: a.CompletePlugins,
		RunE: a.Call(func(ctx context.Context, daemon *client.Client, args []string) error {
			if len(args) == 2 {
				f.remote = args[1]
			}
			return f.upgrade(ctx, a, daemon, args[0], unchecked)
		}),
	}
	fs := cmd.Flags()
	f.flags(fs)
	fs.BoolVar(&unchecked, "skip-remote-check", false, "Take another plugin's image, too, without asking")
	return cmd
}

func (f *fetching) upgrade(ctx context.Context, a *command.App, daemon *client.Client, name string, unchecked bool) error {
	p, _, err := daemon.PluginInspect(ctx, name)
	if err != nil {
		return fmt.Errorf("error reading plugin data: %w", err)
	}
	if p.Enabled {
		return errors.New("the plugin must be disabled before upgrading")
	}
	f.name = p.Name
	if f.remote == "" {
		f.remote = p.PluginReference
	}
	remote, err := ref.ParseTagged(f.remote)
	if err != nil {
		return fmt.Errorf("error parsing remote upgrade image reference: %w", err)
	}
	old, err := ref.ParseTagged(p.PluginReference)
	if err != nil {
		return fmt.Errorf("error parsing current image reference: %w", err)
	}
	fmt.Fprintf(a.Out, "Upgrading plugin %s from %s to %s\n", p.Name, old.Familiar(), remote.Familiar())
	if !unchecked && remote.String() != old.String() {
		yes, err := a.Confirm(ctx, "Plugin images do not match, are you sure?")
		if err != nil {
			return err
		}
		if !yes {
			return errors.New("plugin upgrade has been cancelled")
		}
	}
	o, err := f.ask(ctx, a, daemon, f.remote, "upgrading")
	if err != nil {
		return err
	}
	if err := daemon.PluginUpgrade(ctx, o, format.NewProgress(a.Out, a.Stdout).Show); err != nil {
		return err
	}
	fmt.Fprintf(a.Out, "Upgraded plugin %s to %s\n", f.name, f.remote)
	return nil
}

func Push(a *command.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:               "push [OPTIONS] PLUGIN[:TAG]",
		Short:             "Push a plugin to a registry",
		Args:              command.Exactly(1),
		ValidArgsFunction: a.CompletePlugins,
		RunE: a.Call(func(ctx context.Context, daemon *client.Client, args []string) error {
			name, err := localName(args[0])
			if err != nil {
				return err
			}
			auth, err := a.RegistryAuth(name.Host)
			if err != nil {
				return err
			}
			return daemon.PluginPush(ctx, name.Familiar(), auth, format.NewProgress(a.Out, a.Stdout).Show)
		}),
	}
	unsigned(cmd.Flags(), "Skip image signing (deprecated)")
	return cmd
}
