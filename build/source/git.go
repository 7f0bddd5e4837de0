package source

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/secrets"
	"github.com/moby/buildkit/session/sshforward"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/gitutil"

	"github.com/cove-containers/cove/archive"
	"github.com/cove-containers/cove/build/source/git"
	"github.com/cove-containers/cove/build/step"
	"github.com/cove-containers/cove/cache"
	"github.com/cove-containers/cove/layer"
)

// checkout is a commit of a git repository.
type checkout struct {
	m                 *Maker
	url, ref          string
	wish              git.Wish
	header, token     string // secrets
	agent, knownHosts string
	byCommit          bool
}

func (m *Maker) git(text string, attrs map[string]string) (*checkout, error) {
	c := &checkout{m: m}
	if err := c.parse(text, attrs[pb.AttrFullRemoteURL]); err != nil {
		return nil, err
	}
	for key, value := range attrs {
		switch key {
		case pb.AttrKeepGitDir:
			c.wish.KeepGit = value == "true"
		case pb.AttrAuthHeaderSecret:
			c.header = value
		case pb.AttrAuthTokenSecret:
			c.token = value
		case pb.AttrKnownSSHHosts:
			c.knownHosts = value
		case pb.AttrMountSSHSock:
			c.agent = value
		case pb.AttrGitSkipSubmodules:
			c.wish.NoSubmodules = value == "true"
		case pb.AttrGitFetchByCommit:
			c.byCommit = value == "true"
		case pb.AttrGitChecksum:
			if _, err := hex.DecodeString(value + strings.Repeat("0", len(value)%2)); err != nil || value == "" {
				return nil, invalid("invalid checksum %s for Git URL, expected hex commit hash", value)
			}
			c.wish.Checksum = strings.ToLower(value)
		case pb.AttrGitBundle, pb.AttrGitCheckoutBundle, pb.AttrGitSignatureVerifyPubKey:
			return nil, errdefs.ErrNotImplemented.WithMessage(fmt.Sprintf("git source %s: %s is not supported", text, key))
		}
	}
	if c.byCommit && gitutil.IsCommitSHA(c.wish.Checksum) && !gitutil.IsCommitSHA(c.ref) {
		c.ref = c.wish.Checksum
	}
	if gitutil.IsCommitSHA(c.ref) && !strings.HasPrefix(c.ref, c.wish.Checksum) {
		return nil, errdefs.ErrFailedPrecondition.WithMessage(fmt.Sprintf("expected checksum to match %s, got %s", c.wish.Checksum, c.ref))
	}
	return c, nil
}

// parse reads where the repository is. What the identifier leaves out, the full URL says, which must mean the same place.
func (c *checkout) parse(text, full string) error {
	read := func(text string) (*gitutil.GitURL, error) {
		if !gitutil.IsGitTransport(text) {
			text = "https://" + text
		}
		u, err := gitutil.ParseURL(text)
		if err != nil {
			return nil, invalid("invalid git URL %q: %v", redacted(text), shown(err))
		}
		if strings.HasPrefix(u.Host, "-") || strings.HasPrefix(u.User.Username(), "-") || strings.HasPrefix(u.Remote, "-") {
			return nil, invalid("invalid git URL %q", redacted(text))
		}
		return u, nil
	}
	u, err := read(text)
	if err != nil {
		return err
	}
	c.url = u.Remote
	if u.Opts != nil {
		c.ref, c.wish.Subdir = u.Opts.Ref, u.Opts.Subdir
	}
	if full != "" {
		f, err := read(full)
		if err != nil {
			return err
		}
		place := func(p string) string { return strings.TrimSuffix(path.Join("/", p), ".git") }
		if !strings.EqualFold(f.Host, u.Host) || place(f.Path) != place(u.Path) {
			return invalid("git.fullurl does not match source identifier")
		}
		c.url = f.Remote
	}
	if strings.HasPrefix(c.ref, "-") {
		return invalid("invalid git ref %q", c.ref)
	}
	return nil
}

// remote is the repository with what clients have to get at it. end takes that away again.
func (c *checkout) remote(ctx context.Context, env *step.Env) (r git.Remote, end func(), err error) {
	r = git.Remote{URL: c.url}
	if env.Out != nil {
		r.Log = output{env}
	}
	var ends []func()
	end = func() {
		for _, e := range ends {
			e()
		}
	}
	defer func() {
		if err != nil {
			end()
		}
	}()
	if c.agent != "" {
		socket, done, err := agent(ctx, env, c.agent)
		if err != nil {
			return r, nil, err
		}
		r.Agent, ends = socket, append(ends, done)
	}
	if c.knownHosts != "" {
		f, err := os.CreateTemp("", "cove-known-hosts-")
		if err != nil {
			return r, nil, err
		}
		ends = append(ends, func() { os.Remove(f.Name()) })
		_, err = f.WriteString(c.knownHosts)
		if err = errors.Join(err, f.Close()); err != nil {
			return r, nil, err
		}
		r.KnownHosts = f.Name()
	}
	r.Header, err = c.authorization(ctx, env)
	r.HeaderFor = scope(c.url)
	return r, end, err
}

// scope is which URLs see a secret: the repository, and of a well-known host all of them, for its submodules.
func scope(remote string) string {
	for _, host := range []string{"https://github.com/", "https://www.github.com/"} {
		if strings.HasPrefix(remote, host) {
			return host
		}
	}
	return remote
}

// authorization is the header that a client's secrets make; those for just this host come first.
func (c *checkout) authorization(ctx context.Context, env *step.Env) (string, error) {
	u, err := url.Parse(c.url)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" {
		return "", nil
	}
	for _, one := range []struct {
		name  string
		token bool
	}{{c.header + "." + u.Host, false}, {c.token + "." + u.Host, true}, {c.header, false}, {c.token, true}} {
		if one.name == "" || strings.HasPrefix(one.name, ".") {
			continue
		}
		value, err := secret(ctx, env, one.name)
		switch {
		case errors.Is(err, secrets.ErrNotFound) || errors.Is(err, session.ErrNoActiveSessions):
			continue
		case err != nil:
			return "", fmt.Errorf("secret %s: %w", one.name, err)
		case one.token:
			value = "basic " + base64.StdEncoding.EncodeToString([]byte("x-access-token:"+value))
		}
		return "Authorization: " + strings.TrimSpace(value), nil
	}
	return "", nil
}

// agent offers a client's ssh agent at a socket.
func agent(ctx context.Context, env *step.Env, id string) (socket string, end func(), err error) {
	if env.Sessions == nil || env.Group == nil {
		return "", nil, invalid("no SSH key %q forwarded from the client", id)
	}
	var has session.Caller
	err = env.Sessions.Any(ctx, env.Group, func(ctx context.Context, _ string, caller session.Caller) error {
		if err := sshforward.CheckSSHID(ctx, caller, id); err != nil {
			return invalid("no SSH key %q forwarded from the client", id)
		}
		has = caller
		return nil
	})
	if err != nil {
		return "", nil, err
	}
	socket, done, err := sshforward.MountSSHSocket(ctx, has, sshforward.SocketOpt{ID: id, Mode: 0o600})
	if err != nil {
		return "", nil, err
	}
	return socket, func() {
		done()
		os.RemoveAll(filepath.Dir(socket))
	}, nil
}

// output gives what a program says to the clients.
type output struct{ env *step.Env }

func (o output) Write(p []byte) (int, error) {
	o.env.Out(2, p)
	return len(p), nil
}

// find asks what the reference is.
func (c *checkout) find(ctx context.Context, env *step.Env) (git.Found, error) {
	if gitutil.IsCommitSHA(c.ref) {
		return git.Found{Ref: c.ref, Object: c.ref, Commit: c.ref}, nil
	}
	r, end, err := c.remote(ctx, env)
	if err != nil {
		return git.Found{}, err
	}
	defer end()
	f, err := c.m.repositories.Resolve(ctx, r, c.ref)
	if err != nil {
		return f, err
	}
	if sum := c.wish.Checksum; !strings.HasPrefix(f.Object, sum) && !strings.HasPrefix(f.Commit, sum) {
		return f, errdefs.ErrFailedPrecondition.WithMessage(fmt.Sprintf("expected checksum to match %s, got %s", sum, f.Object))
	}
	return f, nil
}

// Key is of the commit, wherever the repository is; with its ".git" also of how that calls it.
func (c *checkout) Key(ctx context.Context, env *step.Env) (step.Key, error) {
	f, err := c.find(ctx, env)
	if err != nil {
		return step.Key{}, err
	}
	kept := ""
	if c.wish.KeepGit {
		kept = f.Object + " " + f.Ref + " " + c.url
	}
	return step.Key{Digest: keyOf("git.1", f.Commit, kept, c.wish.Subdir, c.wish.NoSubmodules)}, nil
}

// Run fetches the commit and checks it out.
func (c *checkout) Run(ctx context.Context, env *step.Env, _ []step.Ref) (step.Outcome, error) {
	w := c.wish
	var err error
	if w.Found, err = c.find(ctx, env); err != nil {
		return step.Outcome{}, err
	}
	w.SHA256 = len(w.Object) == 64
	r, end, err := c.remote(ctx, env)
	if err != nil {
		return step.Outcome{}, err
	}
	defer end()
	dir, done, err := c.m.repositories.Checkout(ctx, r, w)
	if err != nil {
		return step.Outcome{}, err
	}
	defer done()
	name, err := c.m.keep(ctx, env, dir)
	if err != nil {
		return step.Outcome{}, err
	}
	return step.Outcome{
		Refs: []step.Ref{{Pile: layer.Pile{name}}}, Kind: cache.Git, Notes: map[string]string{"commit": w.Commit},
		Description: fmt.Sprintf("git snapshot for %s#%s", r.Shown(), c.ref),
	}, nil
}

// keep makes a layer of a folder.
func (m *Maker) keep(ctx context.Context, env *step.Env, dir string) (name string, err error) {
	from, err := os.Open(dir)
	if err != nil {
		return "", err
	}
	defer from.Close()
	name = env.Lease.Name()
	if err := m.parts.Layers.Build(ctx, name, nil); err != nil {
		return "", err
	}
	to, err := m.parts.Layers.Root(ctx, name)
	if err != nil {
		return "", err
	}
	err = archive.CopyTree(ctx, to.Dir, from, archive.CopyOptions{Root: true})
	if err = errors.Join(err, to.Close()); err != nil {
		return "", err
	}
	_, err = m.parts.Layers.SealAsIs(ctx, name)
	return name, err
}

// resolveGit tells a front end which commit a reference is.
func (m *Maker) resolveGit(ctx context.Context, env *step.Env, op *pb.SourceOp, text string, opt sourceresolver.Opt) (*sourceresolver.ResolveGitResponse, error) {
	if opt.GitOpt != nil && opt.GitOpt.ReturnObject {
		return nil, errdefs.ErrNotImplemented.WithMessage("objects of git repositories are not given to front ends")
	}
	c, err := m.git(text, op.GetAttrs())
	if err != nil {
		return nil, err
	}
	f, err := c.find(ctx, env)
	if err != nil {
		return nil, err
	}
	out := &sourceresolver.ResolveGitResponse{Ref: f.Ref, Checksum: f.Object}
	if f.Commit != f.Object && !c.wish.KeepGit {
		out.CommitChecksum = f.Commit
	}
	return out, nil
}
