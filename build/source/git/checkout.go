package git

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
)

// Wish says what of a commit is wanted.
type Wish struct {
	Found
	// Subdir is the directory that is wanted, "" the whole.
	Subdir string
	// KeepGit keeps the repository in ".git", where the whole is wanted. NoSubmodules leaves submodules out.
	KeepGit, NoSubmodules bool
	// Checksum, when set, begins the name of the commit or tag.
	Checksum string
	// SHA256 tells that the repository's objects are named so.
	SHA256 bool
}

// Checkout makes a folder with the files of a commit, which the caller removes by calling done. Their times are the commit's,
// so that they are the same each time.
func (s *Store) Checkout(ctx context.Context, remote Remote, w Wish) (dir string, done func(), err error) {
	unlock, err := s.lock(ctx, remote.URL)
	if err != nil {
		return "", nil, err
	}
	defer unlock()
	r, end, err := begin(remote)
	if err != nil {
		return "", nil, err
	}
	defer end()
	bare, err := s.repository(ctx, r, w.SHA256)
	if err != nil {
		return "", nil, err
	}
	commit, err := fetched(ctx, bare, w)
	if err != nil {
		return "", nil, err
	}
	// A folder made here and now, and no other, is what is written to and walked through.
	if dir, err = os.MkdirTemp(s.folder, "checkout-"); err != nil {
		return "", nil, err
	}
	done = func() { os.RemoveAll(dir) }
	if err = fill(ctx, bare, w, commit, dir); err != nil {
		done()
		return "", nil, fmt.Errorf("failed to checkout remote %s: %w", remote.Shown(), err)
	}
	at, err := timeOf(ctx, bare, commit)
	if err == nil {
		err = settle(dir, at)
	}
	if err != nil {
		done()
		return "", nil, err
	}
	return dir, done, nil
}

// fetched has the wanted commit in the bare repository and returns its name.
func fetched(ctx context.Context, bare *runner, w Wish) (string, error) {
	if err := fetch(ctx, bare, w.Found); err != nil {
		return "", err
	}
	commit, err := bare.run(ctx, "rev-parse", w.Object+"^{commit}")
	if err != nil {
		return "", err
	}
	if w.Checksum != "" && !strings.HasPrefix(w.Object, w.Checksum) && !strings.HasPrefix(commit, w.Checksum) {
		return "", errdefs.ErrFailedPrecondition.WithMessage(fmt.Sprintf("expected checksum to match %s, got %s", w.Checksum, commit))
	}
	return commit, nil
}

func timeOf(ctx context.Context, bare *runner, commit string) (time.Time, error) {
	text, err := bare.run(ctx, "log", "-1", "--no-show-signature", "--format=%ct", commit)
	if err != nil {
		return time.Time{}, err
	}
	sec, err := strconv.ParseInt(text, 10, 64)
	return time.Unix(sec, 0), err
}

// fill puts the wanted files into a directory.
func fill(ctx context.Context, bare *runner, w Wish, commit, into string) error {
	subdir := strings.TrimPrefix(path.Join("/", w.Subdir), "/")
	whole := into
	if subdir != "" {
		whole = filepath.Join(into, ".cove-checkout")
		if err := os.Mkdir(whole, 0o700); err != nil {
			return err
		}
	}
	keep := w.KeepGit && subdir == ""
	modules := !w.NoSubmodules && bare.holds(ctx, "cat-file", "-e", commit+":.gitmodules")
	var err error
	if keep || modules {
		err = clone(ctx, bare, w, commit, whole, modules)
	} else {
		err = files(ctx, bare, commit, whole)
	}
	if err == nil && !keep && modules {
		err = forget(whole)
	}
	if err == nil && subdir != "" {
		err = raise(into, whole, subdir)
	}
	return err
}

// files writes the tree of a commit, without a repository of its own.
func files(ctx context.Context, bare *runner, commit, into string) error {
	index, err := os.CreateTemp("", "cove-git-index-")
	if err != nil {
		return err
	}
	index.Close()
	os.Remove(index.Name()) // git wants none, or a whole one
	defer os.Remove(index.Name())
	tree := bare.in(into, append(slices.Clone(bare.args), "--work-tree=.")...)
	tree.env = []string{"GIT_INDEX_FILE=" + index.Name()}
	_, err = tree.run(ctx, "read-tree", "--reset", "-u", commit)
	return err
}

// clone makes a repository with the commit and its submodules.
func clone(ctx context.Context, bare *runner, w Wish, commit, into string, modules bool) error {
	here := bare.in(into, "--git-dir=.git", "--work-tree=.")
	args := []string{"init", "--quiet"}
	if w.SHA256 {
		args = append(args, "--object-format=sha256")
	}
	name := w.Ref
	if !strings.HasPrefix(name, "refs/") {
		name = "refs/cove/commit"
	}
	if _, err := bare.run(ctx, "update-ref", "refs/cove/"+w.Object, w.Object); err != nil {
		return err
	}
	steps := [][]string{
		args,
		{"remote", "add", "--", "origin", bare.remote.Shown()},
		{"fetch", "--quiet", "--no-tags", "--depth=1", "--update-head-ok", "--", "file://" + bare.dir, "refs/cove/" + w.Object + ":" + name},
		{"checkout", "--quiet", "--detach", commit},
	}
	for _, step := range steps {
		if _, err := here.run(ctx, step...); err != nil {
			return err
		}
	}
	if modules {
		if _, err := here.run(ctx, "submodule", "--quiet", "update", "--init", "--recursive", "--depth=1"); err != nil {
			return fmt.Errorf("failed to update submodules: %w", err)
		}
	}
	if _, err := here.run(ctx, "reflog", "expire", "--all", "--expire=now"); err != nil {
		return err
	}
	err := os.Remove(filepath.Join(into, ".git", "FETCH_HEAD"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// forget removes the repositories from a checkout. Nothing else in it can be called so.
func forget(dir string) error {
	return filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.Name() != ".git" {
			return err
		}
		if err := os.RemoveAll(name); err != nil {
			return err
		}
		if e.IsDir() {
			return fs.SkipDir
		}
		return nil
	})
}

// raise moves what is in a directory of a checkout to the top, and removes the rest. Nothing on the way may be a link.
func raise(into, whole, subdir string) error {
	at := whole
	for name := range strings.SplitSeq(subdir, "/") {
		at = filepath.Join(at, name)
		st, err := os.Lstat(at)
		if errors.Is(err, fs.ErrNotExist) || err == nil && !st.IsDir() {
			return errdefs.ErrNotFound.WithMessage(fmt.Sprintf("invalid subdir %q: it is no directory of the repository", subdir))
		}
		if err != nil {
			return err
		}
	}
	names, err := os.ReadDir(at)
	if err != nil {
		return err
	}
	for _, e := range names {
		if e.Name() == filepath.Base(whole) {
			return errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("the repository has a file of the reserved name %q", e.Name()))
		}
		if err := os.Rename(filepath.Join(at, e.Name()), filepath.Join(into, e.Name())); err != nil {
			return err
		}
	}
	return os.RemoveAll(whole)
}

// settle gives everything in a checkout the modes that git knows, whatever the daemon's mask, and the commit's time.
func settle(dir string, at time.Time) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	var dirs []string
	err = fs.WalkDir(root.FS(), ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		switch {
		case e.IsDir():
			dirs = append(dirs, name)
			return root.Chmod(name, 0o755)
		case e.Type()&fs.ModeSymlink != 0:
			return touchLink(root, name, at)
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		perm := fs.FileMode(0o644)
		if info.Mode()&0o100 != 0 {
			perm = 0o755
		}
		if err := root.Chmod(name, perm); err != nil {
			return err
		}
		return root.Chtimes(name, at, at)
	})
	if err != nil {
		return err
	}
	for _, name := range slices.Backward(dirs) {
		if err := root.Chtimes(name, at, at); err != nil {
			return err
		}
	}
	return nil
}
