package contexts

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

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
	Metadata  map[string]any
	Endpoints map[string]any
	// TLSMaterial names the certificates of each endpoint.
	TLSMaterial map[string][]string
	Storage     struct{ MetadataPath, TLSPath string }
}

// describe shows the daemon's endpoint with names that templates can rely on, and what other tools have written as it is.
func describe(c config.Context) (described, error) {
	d := described{Name: c.Name, TLSMaterial: c.TLSMaterial()}
	var errs [2]error
	d.Metadata, errs[0] = decoded(c.Metadata.Metadata)
	d.Endpoints, errs[1] = decoded(c.Endpoints)
	if _, ok := d.Endpoints[config.Daemon]; ok {
		d.Endpoints[config.Daemon] = config.Endpoint{Host: c.Host, SkipTLSVerify: c.SkipTLSVerify}
	}
	d.Storage.MetadataPath, d.Storage.TLSPath = c.Storage()
	if c.Name == "default" {
		d.Metadata = map[string]any{} // nobody has written it
	}
	return d, errors.Join(errs[:]...)
}

func decoded(raws map[string]json.RawMessage) (map[string]any, error) {
	all := map[string]any{}
	for key, raw := range raws {
		var value any
		if err := json.Unmarshal(raw, &value); err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		all[key] = value
	}
	return all, nil
}

func show(a *command.App, list []config.Context, names []string, layout string) error {
	var raws [][]byte
	var errs []error
	for _, name := range names {
		i := slices.IndexFunc(list, func(c config.Context) bool { return c.Name == name })
		if i < 0 {
			_, err := a.ConfigFile().Context(name)
			errs = append(errs, err)
			continue
		}
		d, err := describe(list[i])
		if err != nil {
			return err
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
