// Package registry has the commands that deal with registries. A function with a command's name builds that command.
package registry

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/cove-containers/cove/cli/command"
	"github.com/cove-containers/cove/cli/config"
	"github.com/cove-containers/cove/cli/terminal"
	"github.com/moby/moby/api/types/registry"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// signIn is what login is told.
type signIn struct {
	user, password string
	stdin          bool
}

func Login(a *command.App) *cobra.Command {
	s := &signIn{}
	cmd := &cobra.Command{
		Use:               "login [OPTIONS] [SERVER]",
		Short:             "Authenticate to a registry",
		Long:              "Authenticate to a registry.\nDefaults to Docker Hub if no server is specified.",
		Args:              command.AtMost(1),
		ValidArgsFunction: a.CompleteRegistries,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := s.check(cmd.Flags()); err != nil {
				return err
			}
			key := config.HubKey
			if len(args) == 1 {
				key = config.Key(args[0])
			}
			return enter(cmd.Context(), a, key, s)
		},
	}
	fs := cmd.Flags()
	fs.StringVarP(&s.password, "password", "p", "", "Password or Personal Access Token (PAT)")
	fs.BoolVar(&s.stdin, "password-stdin", false, "Take the password or Personal Access Token (PAT) from stdin")
	fs.StringVarP(&s.user, "username", "u", "", "Username")
	return cmd
}

func (s *signIn) check(fs *pflag.FlagSet) error {
	switch {
	case s.stdin && fs.Changed("password"):
		return errors.New("conflicting options: cannot specify both --password and --password-stdin")
	case s.stdin && !fs.Changed("username"):
		return errors.New("the --password-stdin option requires --username to be set")
	case fs.Changed("username") && s.user == "":
		return errors.New("username is empty")
	case fs.Changed("password") && s.password == "":
		return errors.New("password is empty")
	}
	return nil
}

// enter has the daemon check credentials and keeps those that are right.
func enter(ctx context.Context, a *command.App, key string, s *signIn) error {
	if s.password != "" {
		fmt.Fprintln(a.Err, "WARNING! Using --password via the CLI is insecure. Use --password-stdin.")
	}
	if s.stdin {
		raw, err := io.ReadAll(a.In)
		if err != nil {
			return err
		}
		s.password = strings.TrimSuffix(strings.TrimSuffix(string(raw), "\n"), "\r")
		if s.password == "" && !terminal.Is(a.In) {
			return errors.New("Error: Cannot perform an interactive login from a non TTY device") //nolint:staticcheck // docker's words
		}
	}
	auth := registry.AuthConfig{ServerAddress: key, Username: s.user, Password: s.password}
	if s.user == "" && s.password == "" {
		stored, err := a.ConfigFile().Auth(key)
		if err != nil {
			return err
		}
		if stored.Username != "" && stored.Password != "" {
			fmt.Fprintf(a.Err, "Authenticating with existing credentials... [Username: %s]\n\n Info -> To login with a different account, run '%s logout' followed by '%s login'\n\n\n",
				stored.Username, command.Name, command.Name)
			if err := verify(ctx, a, stored); err == nil {
				return nil
			}
			fmt.Fprintln(a.Err, "Stored credentials invalid or expired")
			auth.Username = stored.Username
		}
	}
	if err := askCredentials(a, &auth); err != nil {
		return err
	}
	return verify(ctx, a, auth)
}

// askCredentials asks the user for what is missing.
func askCredentials(a *command.App, auth *registry.AuthConfig) error {
	if auth.Username != "" && auth.Password != "" {
		return nil
	}
	if !terminal.Is(a.In) {
		return errors.New("Error: Cannot perform an interactive login from a non TTY device") //nolint:staticcheck // docker's words
	}
	if auth.Username == "" {
		fmt.Fprint(a.Out, "Username: ")
		name, err := bufio.NewReader(a.In).ReadString('\n')
		if auth.Username = strings.TrimSpace(name); auth.Username == "" {
			return errors.Join(errors.New("error: username is required"), notEOF(err))
		}
	}
	if auth.Password == "" {
		fmt.Fprint(a.Out, "Password: ")
		password, err := terminal.ReadPassword(a.In)
		fmt.Fprintln(a.Out)
		if auth.Password = password; password == "" {
			return errors.Join(errors.New("error: password is required"), notEOF(err))
		}
	}
	return nil
}

func notEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// verify asks the daemon whether credentials are right, and keeps them.
func verify(ctx context.Context, a *command.App, auth registry.AuthConfig) error {
	daemon, err := a.Client()
	if err != nil {
		return err
	}
	answer, err := daemon.Login(ctx, auth)
	if err != nil {
		return err
	}
	if answer.IdentityToken != "" {
		auth.Password, auth.IdentityToken = "", answer.IdentityToken
	}
	plain, err := a.ConfigFile().StoreAuth(auth)
	if err != nil {
		return fmt.Errorf("Error saving credentials: %w", err) //nolint:staticcheck // docker's words
	}
	if plain {
		fmt.Fprintf(a.Err, "\nWARNING! Your credentials are stored unencrypted in '%s'.\nConfigure a credential helper to remove this warning. See\nhttps://docs.docker.com/go/credential-store/\n\n", a.ConfigFile().Path())
	}
	if answer.Status != "" {
		fmt.Fprintln(a.Out, answer.Status)
	}
	return nil
}
