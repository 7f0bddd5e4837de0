package contexts

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/cove-containers/cove/cli/command"
	"github.com/cove-containers/cove/cli/config"
	"github.com/cove-containers/cove/cli/format"
	"github.com/spf13/cobra"
)

func Inspect(a *command.App) *cobra.Command {
	var layout string
	cmd := &cobra.Command{
		Use:               "inspect [OPTIONS] [CONTEXT] [CONTEXT...]",
		Short:             "Display detailed information on one or more contexts",
		ValidArgsFunction: a.CompleteContexts,
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				args = []string{a.ContextName()}
			}
			list, err := known(a)
			if err != nil {
				return err
			}
			return show(a, list, args, layout)
		},
	}
	cmd.Flags().StringVarP(&layout, "format", "f", "", command.InspectUsage)
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

func show(a *command.App, list []config.Context, names []string, layout string) error {
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
			if err := format.Value(a.Out, layout, d); err != nil {
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
		if err := a.ShowRaw(raws, layout == "json"); err != nil {
			return err
		}
	}
	return errors.Join(errs...)
}
