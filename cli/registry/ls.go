package registry

import (
	"context"
	"errors"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/cove-containers/cove/cli/command"
	"github.com/cove-containers/cove/cli/format"
	"github.com/cove-containers/cove/ref"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
)

// tagRow is a tag in a list; the order of the fields is that of the JSON.
type tagRow struct {
	Tag    string `json:"tag"`
	Digest string `json:"digest"`
	Type   string `json:"mediaType"`
}

func Ls(a *command.App) *cobra.Command {
	var c calling
	var quiet bool
	cmd := &cobra.Command{
		Use:     "ls [OPTIONS] [REGISTRY[/REPOSITORY]]",
		Aliases: []string{"list"},
		Short:   "List the repositories of a registry, or the tags of a repository",
		Long: "List the repositories of a registry, or the tags of a repository.\nWithout a registry, " + ours +
			" is meant. Many registries keep the list of their repositories to themselves.",
		Args:              command.AtMost(1),
		ValidArgsFunction: a.CompleteRegistries,
		RunE: func(cmd *cobra.Command, args []string) error {
			name, err := split(first(args))
			if err != nil {
				return err
			}
			if name.Path == "" {
				return listRepositories(cmd.Context(), a, c, name.Host)
			}
			if name.Tag != "" || name.Digest != "" {
				return errors.New("the tags of a repository are listed: name it without tag and digest")
			}
			return listTags(cmd.Context(), a, c, name, quiet)
		},
	}
	c.add(cmd.Flags())
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "Only show the names of tags")
	return cmd
}

func listRepositories(ctx context.Context, a *command.App, c calling, host string) error {
	client, session, err := c.reach(a, host)
	if err != nil {
		return err
	}
	defer client.Close()
	names, err := client.Catalog(ctx, host, session)
	if err != nil {
		return err
	}
	if c.json {
		return print(a.Out, append([]string{}, names...))
	}
	_, err = a.Out.Write([]byte(lines(names)))
	return err
}

func lines(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return strings.Join(names, "\n") + "\n"
}

func listTags(ctx context.Context, a *command.App, c calling, name ref.Name, quiet bool) error {
	client, session, err := c.reach(a, name.Host)
	if err != nil {
		return err
	}
	defer client.Close()
	tags, err := client.Tags(ctx, name, session)
	if err != nil {
		return err
	}
	if quiet && !c.json {
		_, err = a.Out.Write([]byte(lines(tags)))
		return err
	}
	rows := make([]tagRow, len(tags))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(8)
	for i, tag := range tags {
		g.Go(func() error {
			at := name
			at.Tag = tag
			found, err := client.StatManifest(ctx, at, session)
			if errdefs.IsNotFound(err) { // removed since it was listed
				err = nil
			}
			rows[i] = tagRow{tag, found.Digest.String(), found.MediaType}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if c.json {
		return print(a.Out, rows)
	}
	return format.Write(a.Out, "", format.Table{
		Fields:  []string{"Tag", "Digest", "Type"},
		Headers: map[string]string{"Tag": "TAG", "Digest": "DIGEST", "Type": "MEDIA TYPE"},
	}, rows)
}
