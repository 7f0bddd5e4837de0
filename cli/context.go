package cli

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/cove-containers/cove/cli/config"
	"github.com/cove-containers/cove/cli/format"
	"github.com/spf13/cobra"
)

// contexts lists the contexts, the one of flags and environment first.
func (a *app) contexts() ([]config.Context, error) {
	standard := config.Context{Name: "default", Description: "Current DOCKER_HOST based configuration", Host: config.DefaultHost()}
	if host := config.FirstEnv("COVE_HOST", "DOCKER_HOST"); host != "" {
		standard.Host = config.ParseHost(host, false)
	}
	others, err := a.configFile().Contexts()
	return append([]config.Context{standard}, others...), err
}

func (a *app) contextLs() *cobra.Command {
	var layout string
	var quiet bool
	cmd := &cobra.Command{
		Use:         "ls [OPTIONS]",
		Short:       "List contexts",
		Aliases:     []string{"list"},
		Args:        noArgs,
		Annotations: aliases("context ls", "context list"),
		RunE: func(*cobra.Command, []string) error {
			list, err := a.contexts()
			if err != nil {
				return err
			}
			current := a.contextName()
			for _, name := range []string{"COVE_HOST", "DOCKER_HOST"} {
				if config.FirstEnv(name) != "" && a.global.Context == "" {
					fmt.Fprintf(a.err, "Warning: %s environment variable overrides the active context. To use a context, either set the global --context flag, or unset %s environment variable.\n", name, name)
				}
			}
			var rows []format.Context
			for _, c := range list {
				row := format.Context{Name: c.Name, Title: c.Name, Description: c.Description, DockerEndpoint: c.Host, Current: c.Name == current}
				if row.Current {
					row.Title += " *"
				}
				rows = append(rows, row)
			}
			if quiet {
				return format.Lines(a.out, "Name", rows)
			}
			return format.Write(a.out, layout, format.ContextTable(), rows)
		},
	}
	cmd.Flags().StringVar(&layout, "format", "", formatUsage)
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "Only show context names")
	return cmd
}

func (a *app) contextShow() *cobra.Command {
	return &cobra.Command{
		Use:   "show",
		Short: "Print the name of the current context",
		Args:  noArgs,
		RunE: func(*cobra.Command, []string) error {
			fmt.Fprintln(a.out, a.contextName())
			return nil
		},
	}
}

func (a *app) contextUse() *cobra.Command {
	return &cobra.Command{
		Use:   "use CONTEXT",
		Short: "Set the current context",
		Args:  exactly(1),
		RunE: func(_ *cobra.Command, args []string) error {
			name := args[0]
			if name != "default" {
				if _, err := a.configFile().Context(name); err != nil {
					return err
				}
			}
			if err := a.configFile().UseContext(name); err != nil {
				return err
			}
			fmt.Fprintln(a.out, name)
			fmt.Fprintf(a.err, "Current context is now %q\n", name)
			for _, variable := range []string{"COVE_HOST", "DOCKER_HOST"} {
				if name != "default" && config.FirstEnv(variable) != "" {
					fmt.Fprintf(a.err, "Warning: %s environment variable overrides the active context. To use %q, either set the global --context flag, or unset %s environment variable.\n", variable, name, variable)
				}
			}
			return nil
		},
	}
}

func (a *app) contextInspect() *cobra.Command {
	var layout string
	cmd := &cobra.Command{
		Use:   "inspect [OPTIONS] [CONTEXT] [CONTEXT...]",
		Short: "Display detailed information on one or more contexts",
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				args = []string{a.contextName()}
			}
			list, err := a.contexts()
			if err != nil {
				return err
			}
			return a.showContexts(list, args, layout)
		},
	}
	cmd.Flags().StringVarP(&layout, "format", "f", "", inspectUsage)
	return cmd
}

// described is a context as inspect shows it.
type described struct {
	Name      string
	Metadata  map[string]string
	Endpoints map[string]endpoint
	// TLSMaterial names the certificates of each endpoint.
	TLSMaterial map[string][]string
	Storage     struct{ MetadataPath, TLSPath string }
}

type endpoint struct {
	Host          string
	SkipTLSVerify bool
}

func (a *app) showContexts(list []config.Context, names []string, layout string) error {
	var raws [][]byte
	var errs []error
	for _, name := range names {
		d := described{Metadata: map[string]string{}}
		for _, c := range list {
			if c.Name == name {
				d.Name, d.Endpoints = name, map[string]endpoint{"docker": {c.Host, c.SkipTLSVerify}}
				d.TLSMaterial = c.TLSMaterial()
				d.Storage.MetadataPath, d.Storage.TLSPath = c.Storage()
				if name != "default" && c.Description != "" {
					d.Metadata["Description"] = c.Description
				}
			}
		}
		if d.Name == "" {
			errs = append(errs, fmt.Errorf("context %q: context not found", name))
			continue
		}
		if layout != "" && layout != "json" {
			if err := format.Value(a.out, layout, d); err != nil {
				return err
			}
			continue
		}
		raw, err := json.Marshal(d)
		if err != nil {
			return err
		}
		raws = append(raws, raw)
	}
	if layout == "" || layout == "json" {
		if err := a.showRaw(raws, layout == "json"); err != nil {
			return err
		}
	}
	return errors.Join(errs...)
}
