package registry

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/errdefs"
	"github.com/cove-containers/cove/cli/command"
	"github.com/cove-containers/cove/ref"
	"github.com/cove-containers/cove/remote"
	"github.com/spf13/cobra"
)

// removed is one thing taken out of a registry, for JSON.
type removed struct {
	Untagged string `json:"untagged,omitempty"`
	Deleted  string `json:"deleted,omitempty"`
}

func Rm(a *command.App) *cobra.Command {
	var c calling
	var all bool
	cmd := &cobra.Command{
		Use:     "rm [OPTIONS] REGISTRY/REPOSITORY[:TAG|@DIGEST] [...]",
		Aliases: []string{"remove"},
		Short:   "Remove tags and manifests from a registry",
		Long: "Remove tags and manifests from a registry.\nA tag is taken away from what it points to; a digest removes the manifest with all its tags. " +
			"The space is free after the next garbage collection.",
		Args: command.AtLeast(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			done := []removed{}
			var failed []error
			for _, arg := range args {
				gone, err := remove(cmd.Context(), a, c, arg, all)
				done = append(done, gone...)
				if err != nil {
					failed = append(failed, err)
				}
			}
			if err := show(a, c, done); err != nil {
				failed = append(failed, err)
			}
			return errors.Join(failed...)
		},
	}
	c.add(cmd.Flags())
	cmd.Flags().BoolVarP(&all, "all-tags", "a", false, "Remove every tag of the repository, with the manifests")
	return cmd
}

func show(a *command.App, c calling, done []removed) error {
	if c.json {
		return print(a.Out, done)
	}
	for _, r := range done {
		what, name := "Untagged", r.Untagged
		if r.Deleted != "" {
			what, name = "Deleted", r.Deleted
		}
		if _, err := fmt.Fprintf(a.Out, "%s: %s\n", what, name); err != nil {
			return err
		}
	}
	return nil
}

// remove takes one thing out of a registry, or all tags of a repository, and tells what has gone even when not all has.
func remove(ctx context.Context, a *command.App, c calling, arg string, all bool) ([]removed, error) {
	name, err := ref.Parse(arg)
	if err != nil {
		return nil, err
	}
	bare := name.Tag == "" && name.Digest == ""
	switch {
	case bare && !all:
		return nil, fmt.Errorf("%s: name a tag or a digest, or give --all-tags", name.Familiar())
	case all && !bare:
		return nil, fmt.Errorf("%s: --all-tags wants a repository without tag and digest", name.Familiar())
	}
	client, session, err := c.reach(a, name.Host)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	if all {
		return removeAll(ctx, client, session, name)
	}
	if name.Digest != "" { // a tag beside it says nothing more
		name.Tag = ""
	}
	if err := client.DeleteManifest(ctx, name, session); err != nil {
		return nil, fmt.Errorf("%s: %w", name.Familiar(), err)
	}
	if name.Digest != "" {
		return []removed{{Deleted: name.Familiar()}}, nil
	}
	return []removed{{Untagged: name.Familiar()}}, nil
}

// removeAll removes what the tags of a repository point to: the tags go with it. All are looked up first, as several may point to
// the same.
func removeAll(ctx context.Context, client *remote.Client, session *remote.Session, name ref.Name) ([]removed, error) {
	tags, err := client.Tags(ctx, name, session)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name.Familiar(), err)
	}
	var targets []ref.Name
	pointing := map[ref.Name][]removed{}
	for _, tag := range tags {
		at := name
		at.Tag = tag
		found, err := client.StatManifest(ctx, at, session)
		switch {
		case errdefs.IsNotFound(err): // removed since it was listed
			continue
		case err == nil && found.Digest == "":
			err = errors.New("the registry does not tell its digest")
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", at.Familiar(), err)
		}
		target := name.WithDigest(found.Digest)
		if pointing[target] == nil {
			targets = append(targets, target)
		}
		pointing[target] = append(pointing[target], removed{Untagged: at.Familiar()})
	}
	var done []removed
	for _, target := range targets {
		if err := client.DeleteManifest(ctx, target, session); err != nil {
			return done, fmt.Errorf("%s: %w", target.Familiar(), err)
		}
		done = append(append(done, pointing[target]...), removed{Deleted: target.Familiar()})
	}
	return done, nil
}
