package source

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/containerd/errdefs"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/secrets"
	"github.com/moby/buildkit/session/upload"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"

	"github.com/cove-containers/cove/build/step"
	"github.com/cove-containers/cove/cache"
	"github.com/cove-containers/cove/layer"
	"github.com/cove-containers/cove/release"
	"github.com/cove-containers/cove/sys"
)

// Names of secrets that a client may have for a host, as in BuildKit.
const (
	authHeaderSecret = "HTTP_AUTH_HEADER_"
	authTokenSecret  = "HTTP_AUTH_TOKEN_"
)

// uploads is the host under which a client offers what its user gave it to read, such as an archive from a pipe.
const uploads = "buildkit-session"

// download is a file from the net.
type download struct {
	m        *Maker
	url      *url.URL
	checksum digest.Digest
	filename string
	perm     uint32
	uid, gid int
	secret   string // that has the header for authorization
	header   http.Header
}

// fetched is what a file turned out to be.
type fetched struct {
	Filename, ETag, Modified string
	Digest                   digest.Digest
	pile                     layer.Pile
}

func (m *Maker) http(text string, attrs map[string]string) (*download, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" {
		return nil, invalid("invalid URL %q", redacted(text))
	}
	d := &download{m: m, url: u, perm: 0o600, header: http.Header{}}
	number := func(text string) int {
		n, e := strconv.ParseInt(text, 0, 32)
		if e != nil || n < 0 {
			err = invalid("invalid number %q", text)
		}
		return int(n)
	}
	for key, value := range attrs {
		switch key {
		case pb.AttrHTTPChecksum:
			if d.checksum, err = digest.Parse(value); err != nil {
				err = invalid("invalid checksum %q: %v", value, err)
			}
		case pb.AttrHTTPFilename:
			d.filename = value
		case pb.AttrHTTPPerm:
			d.perm = uint32(number(value)) & 0o7777
		case pb.AttrHTTPUID:
			d.uid = number(value)
		case pb.AttrHTTPGID:
			d.gid = number(value)
		case pb.AttrHTTPAuthHeaderSecret:
			d.secret = value
		case pb.AttrHTTPSignatureVerify, pb.AttrHTTPSignatureVerifyPubKey:
			err = errdefs.ErrNotImplemented.WithMessage("signatures of downloads are not checked: give a checksum")
		default:
			name := http.CanonicalHeaderKey(strings.TrimPrefix(key, pb.AttrHTTPHeaderPrefix))
			if strings.HasPrefix(key, pb.AttrHTTPHeaderPrefix) && (name == "Accept" || name == "User-Agent") {
				d.header.Set(name, value)
			}
		}
		if err != nil {
			return nil, fmt.Errorf("source %s: %s: %w", d, key, err)
		}
	}
	return d, nil
}

// String is the URL as it may be shown.
func (d *download) String() string { return d.url.Redacted() }

// redacted is a text that should have been a URL, without what may be a password.
func redacted(text string) string {
	if at := strings.LastIndex(text, "@"); at >= 0 {
		return "…" + text[at:]
	}
	return text
}

// asked is the key of what a URL, asked for in this way, last turned out to be. What a client uploads is its own.
func (d *download) asked(env *step.Env) digest.Digest {
	of := ""
	if d.uploaded() && env.Group != nil {
		of = env.Group.SessionIterator().NextSession()
	}
	return keyOf("http.asked.1", d.url.String(), d.filename, d.perm, d.uid, d.gid, d.secret, d.header, of)
}

// uploaded tells that the file comes from the client itself, which gives it once.
func (d *download) uploaded() bool { return d.url.Host == uploads }

func (d *download) keyFor(s fetched) digest.Digest {
	return keyOf("http.1", s.Filename, d.perm, d.uid, d.gid, s.Digest, s.Modified)
}

// Key asks the server whether the file is still what it was, and fetches it when it is not: only what it contains tells
// it from others. With a checksum nobody is asked.
func (d *download) Key(ctx context.Context, env *step.Env) (step.Key, error) {
	if d.checksum != "" {
		return step.Key{Digest: d.keyFor(fetched{Filename: d.name(nil), Digest: d.checksum})}, nil
	}
	s, err := d.fetch(ctx, env)
	if err != nil {
		return step.Key{}, err
	}
	return step.Key{Digest: d.keyFor(s)}, nil
}

// Run is needed where the cache does not have the file: with a checksum, or when it was thrown away meanwhile.
func (d *download) Run(ctx context.Context, env *step.Env, _ []step.Ref) (step.Outcome, error) {
	s, err := d.fetch(ctx, env)
	if err != nil {
		return step.Outcome{}, err
	}
	return step.Outcome{
		Refs: []step.Ref{{Pile: s.pile}}, Notes: s.notes(), Description: "http url " + d.String(), Unkept: d.checksum == "",
	}, nil
}

func (s fetched) notes() map[string]string {
	return map[string]string{"filename": s.Filename, "etag": s.ETag, "modified": s.Modified, "digest": s.Digest.String()}
}

// fetch has the file as it is now, and remembers it.
func (d *download) fetch(ctx context.Context, env *step.Env) (fetched, error) {
	asked := d.asked(env)
	end, err := d.m.turns.take(ctx, asked)
	if err != nil {
		return fetched{}, err
	}
	defer end()
	had, known := env.Lease.Lookup(asked)
	var old fetched
	if known && len(had.Piles) == 1 {
		old = fetched{
			Filename: had.Notes["filename"], ETag: had.Notes["etag"], Modified: had.Notes["modified"],
			Digest: digest.Digest(had.Notes["digest"]), pile: had.Piles[0],
		}
		if d.uploaded() || d.checksum != "" && old.Digest == d.checksum {
			return old, nil
		}
	}
	s, err := d.get(ctx, env, old)
	if err != nil {
		return fetched{}, err
	}
	if d.checksum != "" && s.Digest != d.checksum {
		return fetched{}, errdefs.ErrFailedPrecondition.WithMessage(fmt.Sprintf("digest mismatch for %s: %s (expected: %s)", d, s.Digest, d.checksum))
	}
	if len(old.pile) > 0 && slices.Equal(s.pile, old.pile) {
		return s, nil
	}
	key := d.keyFor(s)
	if d.checksum == "" {
		env.Lease.Save(key, cache.Record{
			Description: "http url " + d.String(), Piles: [][]string{s.pile}, Own: []string{s.pile[0]}, Notes: s.notes(),
		})
		env.Lease.Alias(asked, key)
	}
	return s, nil
}

// get asks for the file, unless what is here is told by its tag to be the same.
func (d *download) get(ctx context.Context, env *step.Env, old fetched) (fetched, error) {
	client := &http.Client{Transport: &transport{env: env}}
	if old.ETag != "" { // by HEAD first: some servers give tags and do not know the condition
		if r, err := d.ask(ctx, env, client, http.MethodHead, ""); err == nil {
			r.Body.Close()
			if r.StatusCode == http.StatusOK && tag(r) == old.ETag && d.name(r) == old.Filename {
				return old, nil
			}
		}
	}
	r, err := d.ask(ctx, env, client, http.MethodGet, old.ETag)
	if err != nil {
		return fetched{}, fmt.Errorf("fetch %s: %w", d, shown(err))
	}
	defer r.Body.Close()
	switch {
	case r.StatusCode == http.StatusNotModified && old.ETag != "" && (tag(r) == old.ETag || tag(r) == ""):
		return old, nil
	case r.StatusCode < 200 || r.StatusCode >= 300:
		return fetched{}, kind(r.StatusCode).WithMessage(fmt.Sprintf("fetch %s: invalid response status %d", d, r.StatusCode))
	}
	return d.save(ctx, env, r)
}

// customized is an error kind whose message can be set.
type customized interface {
	// WithMessage gives an error of the kind these words.
	WithMessage(string) error
}

func kind(status int) customized {
	switch status {
	case http.StatusNotFound, http.StatusGone:
		return errdefs.ErrNotFound
	case http.StatusUnauthorized:
		return errdefs.ErrUnauthenticated
	case http.StatusForbidden:
		return errdefs.ErrPermissionDenied
	}
	return errdefs.ErrUnavailable
}

// shown takes the URL, which may have a password in it, out of an error.
func shown(err error) error {
	var inner *url.Error
	if errors.As(err, &inner) {
		return inner.Err
	}
	return err
}

// tag is the answer's, without the sign that it is a weak one.
func tag(r *http.Response) string { return strings.TrimPrefix(r.Header.Get("ETag"), "W/") }

func (d *download) ask(ctx context.Context, env *step.Env, client *http.Client, method, known string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, d.url.String(), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", "cove/"+release.Version)
	for name, values := range d.header {
		req.Header[name] = values
	}
	if method == http.MethodHead { // what a GET asks for by itself: tags may depend on it
		req.Header.Set("Accept-Encoding", "gzip")
	}
	if known != "" {
		req.Header.Set("If-None-Match", known)
	}
	if err := d.authorize(ctx, env, req); err != nil {
		return nil, err
	}
	return client.Do(req)
}

// authorize adds what a client has for the host.
func (d *download) authorize(ctx context.Context, env *step.Env, req *http.Request) error {
	if d.uploaded() {
		return nil
	}
	if d.secret != "" {
		value, err := secret(ctx, env, d.secret)
		if err != nil {
			return fmt.Errorf("failed to retrieve HTTP auth secret %s: %w", d.secret, err)
		}
		req.Header.Set("Authorization", value)
		return nil
	}
	if value, err := secret(ctx, env, authHeaderSecret+d.url.Hostname()); err == nil {
		req.Header.Set("Authorization", value)
	} else if value, err := secret(ctx, env, authTokenSecret+d.url.Hostname()); err == nil {
		req.Header.Set("Authorization", "Bearer "+value)
	}
	return nil
}

// secret is what a client of the build has under a name.
func secret(ctx context.Context, env *step.Env, name string) (value string, err error) {
	if env.Sessions == nil || env.Group == nil {
		return "", secrets.ErrNotFound
	}
	err = env.Sessions.Any(ctx, env.Group, func(ctx context.Context, _ string, caller session.Caller) error {
		data, err := secrets.GetSecret(ctx, caller, name)
		value = string(data)
		return err
	})
	return value, err
}

// name is what the file is called: as the definition says, or the server, or the URL.
func (d *download) name(r *http.Response) string {
	name := d.filename
	if name == "" && r != nil {
		if _, params, err := mime.ParseMediaType(r.Header.Get("Content-Disposition")); err == nil && !strings.HasSuffix(params["filename"], "/") {
			name = params["filename"]
		}
	}
	if name == "" {
		name = path.Base(d.url.Path)
	}
	name = path.Base(strings.TrimSpace(name))
	if name == "/" || name == "." || name == ".." || len(name) > 255 || strings.ContainsFunc(name, unicode.IsControl) {
		return "download"
	}
	return name
}

// save makes a file system of the answer.
func (d *download) save(ctx context.Context, env *step.Env, r *http.Response) (s fetched, err error) {
	s = fetched{Filename: d.name(r), ETag: tag(r)}
	at := time.Unix(0, 0)
	if modified, err := http.ParseTime(r.Header.Get("Last-Modified")); err == nil {
		at, s.Modified = modified, modified.UTC().Format(http.TimeFormat)
	}
	name := env.Lease.Name()
	if err := d.m.parts.Layers.Build(ctx, name, nil); err != nil {
		return s, err
	}
	root, err := d.m.parts.Layers.Root(ctx, name)
	if err != nil {
		return s, err
	}
	s.Digest, err = d.write(env, sys.Borrow(root.Dir), s.Filename, r, sys.Timespec{Sec: at.Unix()})
	if err = errors.Join(err, root.Close()); err != nil {
		return s, fmt.Errorf("fetch %s: %w", d, err)
	}
	if _, err := d.m.parts.Layers.SealAsIs(ctx, name); err != nil {
		return s, err
	}
	s.pile = layer.Pile{name}
	return s, d.m.parts.Content.Learn(s.pile, map[string]digest.Digest{s.Filename: s.Digest})
}

func (d *download) write(env *step.Env, dir sys.FD, name string, r *http.Response, at sys.Timespec) (digest.Digest, error) {
	f, err := sys.CreateAt(dir, name, 0o600)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	room := sys.NewRoom(f)
	if err := room.Fits(r.ContentLength); r.ContentLength > 0 && err != nil {
		return "", fmt.Errorf("%d bytes: %w", r.ContentLength, err)
	}
	p := newMeter(env, "downloading "+d.String(), r.ContentLength)
	_, err = io.Copy(io.MultiWriter(room, f, h, p), r.Body)
	p.end()
	if err == nil {
		err = f.Chown(d.uid, d.gid)
	}
	if err == nil {
		err = f.Chmod(d.perm)
	}
	if err == nil {
		err = sys.TimesAt(f, "", at, at)
	}
	if err == nil {
		err = sys.TimesAt(dir, "", at, at)
	}
	return digest.NewDigest(digest.SHA256, h), err
}

// resolveHTTP tells a front end what a file is.
func (m *Maker) resolveHTTP(ctx context.Context, env *step.Env, op *pb.SourceOp, opt sourceresolver.Opt) (*sourceresolver.ResolveHTTPResponse, error) {
	if opt.HTTPOpt != nil && opt.HTTPOpt.ChecksumReq != nil {
		return nil, errdefs.ErrNotImplemented.WithMessage("checksums of downloads other than SHA-256 are not computed")
	}
	d, err := m.http(op.GetIdentifier(), op.GetAttrs())
	if err != nil {
		return nil, err
	}
	if d.checksum != "" {
		return &sourceresolver.ResolveHTTPResponse{Digest: d.checksum, Filename: d.name(nil)}, nil
	}
	s, err := d.fetch(ctx, env)
	if err != nil {
		return nil, err
	}
	out := &sourceresolver.ResolveHTTPResponse{Digest: s.Digest, Filename: s.Filename}
	if at, err := http.ParseTime(s.Modified); err == nil {
		out.LastModified = &at
	}
	return out, nil
}

// transport goes to the net, or to the client for what that offers itself.
type transport struct{ env *step.Env }

func (t *transport) RoundTrip(req *http.Request) (r *http.Response, err error) {
	if req.URL.Host != uploads {
		return http.DefaultTransport.RoundTrip(req)
	}
	if req.Method != http.MethodGet {
		return nil, invalid("a client's upload can only be read")
	}
	if t.env.Sessions == nil || t.env.Group == nil {
		return nil, invalid("no client offers %s", req.URL.Redacted())
	}
	err = t.env.Sessions.Any(req.Context(), t.env.Group, func(ctx context.Context, _ string, caller session.Caller) error {
		if !caller.Supports(session.MethodURL("moby.upload.v1.Upload", "Pull")) {
			return invalid("the client uploads nothing") // another session of the build may
		}
		up, err := upload.New(ctx, caller, req.URL)
		if err != nil {
			return err
		}
		read, write := io.Pipe()
		go func() { // ends with the call, or when nobody reads any more
			_, err := up.WriteTo(write)
			write.CloseWithError(err)
		}()
		r = &http.Response{Status: "200 OK", StatusCode: http.StatusOK, Body: read, ContentLength: -1, Header: http.Header{}, Request: req}
		return nil
	})
	return r, err
}
