package manifest

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/containerd/errdefs"
	"github.com/cove-containers/cove/cli/command"
	"github.com/cove-containers/cove/ref"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/cobra"
)

func Inspect(a *command.App) *cobra.Command {
	var insecure, verbose bool
	cmd := &cobra.Command{
		Use:               "inspect [OPTIONS] [MANIFEST_LIST] MANIFEST",
		Short:             "Display an image manifest, or manifest list",
		Args:              command.Between(1, 2),
		ValidArgsFunction: complete(a),
		RunE: func(cmd *cobra.Command, args []string) error {
			name, err := parse(args[len(args)-1])
			if err != nil {
				return err
			}
			if len(args) == 1 {
				return inspect(cmd.Context(), a, name, insecure, verbose)
			}
			in, err := parse(args[0])
			if err != nil {
				return err
			}
			e, err := lists(a).get(in, name)
			if err != nil {
				return err
			}
			return show(a, e, verbose)
		},
	}
	cmd.Flags().BoolVar(&insecure, "insecure", false, "Allow communication with an insecure registry")
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "Output additional info including layers and platform")
	return cmd
}

// inspect shows the list in the making of that name, else what the registry has.
func inspect(ctx context.Context, a *command.App, name ref.Name, insecure, verbose bool) error {
	entries, err := lists(a).list(name)
	if err == nil {
		if verbose {
			return showJSON(a, entries)
		}
		_, text, err := listOf(name, entries, false)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(a.Out, "%s\n", text)
		return err
	}
	if !errdefs.IsNotFound(err) {
		return err
	}
	d, err := open(a, name, insecure)
	if err != nil {
		return err
	}
	defer d.close()
	desc, raw, err := d.document(ctx, name)
	switch {
	case err != nil:
		return err
	case !isList(desc.MediaType) && !verbose:
		return show(a, newEntry(name, desc, raw), false)
	case !isList(desc.MediaType):
		e, err := d.complete(ctx, name, desc, raw)
		if err != nil {
			return err
		}
		return show(a, e, true)
	case !verbose:
		text, err := indent(raw, "   ")
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(a.Out, text)
		return err
	}
	if entries, err = d.members(ctx, name, raw); err != nil {
		return err
	}
	return showJSON(a, entries)
}

// members fetches the manifests that a list names.
func (d *door) members(ctx context.Context, name ref.Name, raw []byte) ([]entry, error) {
	var index ocispec.Index
	if err := json.Unmarshal(raw, &index); err != nil {
		return nil, fmt.Errorf("manifest list of %s: %w", name, err)
	}
	entries := []entry{}
	for _, m := range index.Manifests {
		member := name
		member.Digest = m.Digest
		desc, raw, err := d.document(ctx, member)
		if err != nil {
			return nil, err
		}
		if desc.Platform = m.Platform; m.Platform == nil {
			desc.Platform = &ocispec.Platform{}
		}
		entries = append(entries, newEntry(member, desc, raw))
	}
	return entries, nil
}

// show prints one manifest.
func show(a *command.App, e entry, verbose bool) error {
	if verbose {
		return showJSON(a, e)
	}
	raw, err := e.document()
	if err != nil {
		return err
	}
	text, err := indent(raw, "\t")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(a.Out, text)
	return err
}

func showJSON(a *command.App, value any) error {
	text, err := json.MarshalIndent(value, "", "\t")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.Out, "%s\n", text)
	return err
}
