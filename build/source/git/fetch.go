package git

import (
	"context"
	"fmt"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/buildkit/util/gitutil"
)

// Found is what a name in a repository stands for.
type Found struct {
	// Ref is the name in full, such as "refs/heads/main"; a commit's own name where that was asked for.
	Ref string
	// Object is the commit, or the annotated tag; Commit is the commit in both cases, as far as the server tells.
	Object, Commit string
}

// Resolve asks a repository what a branch, tag, reference or commit is; "" is what its HEAD points to. A commit's full name
// is not asked for.
func (s *Store) Resolve(ctx context.Context, remote Remote, ref string) (Found, error) {
	if strings.HasPrefix(ref, "-") {
		return Found{}, errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("invalid git ref %q", ref))
	}
	if gitutil.IsCommitSHA(ref) {
		return Found{ref, ref, ref}, nil
	}
	r, end, err := begin(remote)
	if err != nil {
		return Found{}, err
	}
	defer end()
	if ref == "" {
		if ref, err = head(ctx, r); err != nil {
			return Found{}, err
		}
	}
	out, err := r.run(ctx, "ls-remote", "--", remote.URL, ref, ref+"^{}")
	if err != nil {
		return Found{}, fmt.Errorf("failed to fetch remote %s: %w", remote.Shown(), err)
	}
	return choose(out, ref, remote)
}

func head(ctx context.Context, r *runner) (string, error) {
	out, err := r.run(ctx, "ls-remote", "--symref", "--", r.remote.URL, "HEAD")
	if err != nil {
		return "", fmt.Errorf("error fetching default branch for repository %s: %w", r.remote.Shown(), err)
	}
	for line := range strings.Lines(out) {
		if name, ok := strings.CutPrefix(line, "ref: refs/heads/"); ok {
			name, _, _ = strings.Cut(strings.TrimSpace(name), "\t")
			if name != "" && !strings.HasPrefix(name, "-") {
				return name, nil
			}
		}
	}
	return "", errdefs.ErrNotFound.WithMessage("could not find default branch for repository: " + r.remote.Shown())
}

// choose finds the reference meant in a server's list: one of exactly that name, a branch, a tag.
func choose(list, ref string, remote Remote) (Found, error) {
	known := map[string]string{}
	for line := range strings.Lines(list) {
		sha, name, _ := strings.Cut(strings.TrimSpace(line), "\t")
		if gitutil.IsCommitSHA(sha) {
			known[name] = sha
		}
	}
	for _, name := range []string{
		"refs/" + strings.TrimPrefix(ref, "refs/"), "refs/heads/" + strings.TrimPrefix(ref, "refs/heads/"), "refs/tags/" + strings.TrimPrefix(ref, "refs/tags/"),
	} {
		sha, ok := known[name]
		if !ok {
			continue
		}
		f := Found{Ref: name, Object: sha, Commit: sha}
		if peeled, ok := known[name+"^{}"]; ok {
			f.Commit = peeled
		}
		return f, nil
	}
	return Found{}, errdefs.ErrNotFound.WithMessage(fmt.Sprintf("repository %s does not contain ref %s", remote.Shown(), ref))
}

// fetch has a commit in the bare repository, and all that a checkout of it needs.
func fetch(ctx context.Context, bare *runner, f Found) error {
	if have(ctx, bare, f.Object) {
		return nil
	}
	var err error
	if !gitutil.IsCommitSHA(f.Ref) {
		_, err = bare.run(ctx, "fetch", "--quiet", "--no-tags", "--depth=1", "--force", "--", bare.remote.URL, f.Ref+":refs/cove/"+f.Object)
		if err == nil && have(ctx, bare, f.Object) {
			return nil
		}
	}
	// The name has another meaning by now, or there was none: the commit is asked for by its own.
	if err == nil || says(err, "couldn't find remote ref") {
		_, err = bare.run(ctx, "fetch", "--quiet", "--no-tags", "--depth=1", "--force", "--", bare.remote.URL, f.Object+":refs/cove/"+f.Object)
	}
	if says(err, "not our ref", "unadvertised object", "couldn't find remote ref", "no such remote ref", "shallow", "--depth") {
		// Some servers give out only what a name points to. Then it is in what the names lead to, or nowhere.
		_, err = bare.run(ctx, "fetch", "--quiet", "--tags", "--force", "--update-shallow", "--", bare.remote.URL, "+refs/heads/*:refs/cove/heads/*")
	}
	if err != nil {
		return fmt.Errorf("failed to fetch remote %s: %w", bare.remote.Shown(), err)
	}
	if !have(ctx, bare, f.Object) {
		return errdefs.ErrNotFound.WithMessage(fmt.Sprintf("repository %s has no commit %s", bare.remote.Shown(), f.Object))
	}
	return nil
}

// have tells whether an object, and the commit it stands for, is here.
func have(ctx context.Context, bare *runner, object string) bool {
	return bare.holds(ctx, "cat-file", "-e", object+"^{tree}")
}
