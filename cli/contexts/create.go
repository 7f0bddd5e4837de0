package contexts

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/cove-containers/cove/cli/command"
	"github.com/cove-containers/cove/cli/config"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// settings are what create and update are told of a context.
type settings struct {
	described   bool
	description string
	daemon      map[string]string
}

func (s *settings) add(fs *pflag.FlagSet) {
	fs.StringVar(&s.description, "description", "", "Description of the context")
	fs.StringToStringVar(&s.daemon, "docker", nil, "How the daemon is reached: see above")
}

// about explains --docker.
func about(short, call string) string {
	return short + `

What --docker is told of the daemon, separated by commas:
  host              Where it listens: unix://PATH, tcp://HOST:PORT, ssh://[USER@]HOST[:PORT] or npipe://PATH
  ca                File of the authority that vouches for it
  cert, key         Files of the certificate to show to it
  skip-tls-verify   Do not ask who it is (true or false)
  from              Copy all of this from the context of this name

Example:
  ` + command.Name + " context " + call + ` build --docker "host=tcp://build.example.com:2376,ca=ca.pem,cert=cert.pem,key=key.pem"`
}

func Create(a *command.App) *cobra.Command {
	var s settings
	var from string
	cmd := &cobra.Command{
		Use:   "create [OPTIONS] CONTEXT",
		Short: "Create a context",
		Long:  about("Create a context", "create"),
		Args:  command.Exactly(1),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return nil, command.Nothing // the name is new
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			s.described = cmd.Flags().Changed("description")
			if err := create(a, args[0], from, s); err != nil {
				return err
			}
			fmt.Fprintln(a.Out, args[0])
			fmt.Fprintf(a.Err, "Successfully created context %q\n", args[0])
			return nil
		},
	}
	s.add(cmd.Flags())
	cmd.Flags().StringVar(&from, "from", "", "Copy the context of this name")
	return cmd
}

// create makes a context by what it is told, else as a copy of another one: of the one in force when none is named.
func create(a *command.App, name, from string, s settings) error {
	if err := isNew(a, name); err != nil {
		return err
	}
	if s.daemon == nil {
		if from == "" {
			from = a.ContextName()
		}
		m, certificates, err := a.ConfigFile().Whole(from, a.Global.Choice)
		if err != nil {
			return err
		}
		m.Name = name
		if s.described {
			if err := m.Describe(s.description); err != nil {
				return err
			}
		}
		return a.ConfigFile().Keep(m, certificates)
	}
	if from != "" {
		return errors.New("cannot use --docker flag when --from is set")
	}
	m := config.Metadata{Name: name}
	certificates, err := s.reach(a, &m)
	if err != nil {
		return fmt.Errorf("unable to create docker endpoint config: %w", err)
	}
	if err := m.Describe(s.description); err != nil {
		return err
	}
	return a.ConfigFile().Keep(m, certificates)
}

func isNew(a *command.App, name string) error {
	if err := config.CheckName(name); err != nil {
		return err
	}
	if a.ConfigFile().HasContext(name) {
		return fmt.Errorf("context %q already exists", name)
	}
	return nil
}

// reach writes into m what --docker says, and gives the certificates it names, never nil.
func (s *settings) reach(a *command.App, m *config.Metadata) (config.Certificates, error) {
	for key := range s.daemon {
		switch key {
		case "from", "host", "ca", "cert", "key", "skip-tls-verify":
		default:
			return nil, fmt.Errorf("unrecognized config key: %s", key)
		}
	}
	if from, ok := s.daemon["from"]; ok {
		other, certificates, err := a.ConfigFile().Whole(from, a.Global.Choice)
		if err != nil {
			return nil, err
		}
		e, err := other.Daemon()
		if certificates == nil {
			certificates = config.Certificates{}
		}
		return certificates, errors.Join(err, m.Reach(e))
	}
	e := config.Endpoint{Host: s.daemon["host"]}
	if raw := s.daemon["skip-tls-verify"]; raw != "" {
		var err error
		if e.SkipTLSVerify, err = strconv.ParseBool(raw); err != nil {
			return nil, fmt.Errorf("skip-tls-verify: parsing %q: invalid syntax", raw)
		}
	}
	certificates, err := config.TLSFiles{CA: s.daemon["ca"], Cert: s.daemon["cert"], Key: s.daemon["key"]}.Read()
	if err != nil {
		return nil, err
	}
	return certificates, m.Reach(e)
}
