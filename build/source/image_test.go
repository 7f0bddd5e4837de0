package source

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/session/auth"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cove-containers/cove/image"
	"github.com/cove-containers/cove/layer"
	"github.com/cove-containers/cove/ref"
	"github.com/cove-containers/cove/testkit"
)

// wallet is a client's credentials.
type wallet struct {
	auth.UnimplementedAuthServer
	user, secret string
	asked        []string
	tokens       bool // it asks token services itself
}

func (w *wallet) GetTokenAuthority(context.Context, *auth.GetTokenAuthorityRequest) (*auth.GetTokenAuthorityResponse, error) {
	if !w.tokens {
		return nil, status.Error(codes.Unimplemented, "no")
	}
	return &auth.GetTokenAuthorityResponse{PublicKey: make([]byte, 32)}, nil
}

func (w *wallet) FetchToken(ctx context.Context, r *auth.FetchTokenRequest) (*auth.FetchTokenResponse, error) {
	query := url.Values{"service": {r.Service}, "scope": r.Scopes}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.Realm+"?"+query.Encode(), nil)
	if err != nil {
		return nil, err
	}
	req.SetBasicAuth(w.user, w.secret)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var answer struct {
		Token string `json:"token"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return nil, err
	}
	return &auth.FetchTokenResponse{Token: answer.Token, ExpiresIn: 60}, nil
}

func (w *wallet) Register(s *grpc.Server) { auth.RegisterAuthServer(s, w) }

func (w *wallet) Credentials(_ context.Context, r *auth.CredentialsRequest) (*auth.CredentialsResponse, error) {
	w.asked = append(w.asked, r.Host)
	return &auth.CredentialsResponse{Username: w.user, Secret: w.secret}, nil
}

func registry(t *testing.T, f testkit.Faults) *testkit.Registry {
	t.Helper()
	r, err := testkit.NewRegistry("127.0.0.1:0", f, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

func craft(t *testing.T, recipe string) *testkit.Image {
	t.Helper()
	im, err := testkit.Craft(recipe, nil)
	if err != nil {
		t.Fatal(err)
	}
	return im
}

// gets counts what a registry was asked for.
func gets(r *testkit.Registry, what string) (n int) {
	for _, l := range r.Log() {
		if l.Method == "GET" && strings.Contains(l.Path, what) {
			n++
		}
	}
	return n
}

func (k *kit) base(id, ref string, attrs map[string]string) (layer.Pile, error) {
	k.t.Helper()
	s, err := k.maker.Op(&pb.SourceOp{Identifier: "docker-image://" + ref, Attrs: attrs}, nil)
	if err != nil {
		k.t.Fatal(err)
	}
	env, done := k.env(id)
	defer done()
	out, err := k.run(env, s)
	if err != nil {
		return nil, err
	}
	return out.Refs[0].Pile, nil
}

func (k *kit) resolve(id, ref, mode string) (*sourceresolver.ResolveImageResponse, error) {
	env, done := k.env(id)
	defer done()
	r, err := k.maker.Resolve(context.Background(), env, &pb.SourceOp{Identifier: "docker-image://" + ref}, sourceresolver.Opt{
		ImageOpt: &sourceresolver.ResolveImageOpt{ResolveMode: mode},
	})
	if err != nil {
		return nil, err
	}
	return r.Image, nil
}

func TestBases(t *testing.T) {
	k := newKit(t)
	w := &wallet{}
	id, _ := k.client("", w)
	reg := registry(t, testkit.Faults{})
	one := craft(t, "L;f /a one\nL;f /b two\nC {\"config\":{\"Env\":[\"A=1\"]}}")
	top := reg.Push("team/base", "1", one)
	name := reg.Host() + "/team/base:1"

	got, err := k.resolve(id, name, "default")
	if err != nil || got.Digest != top {
		t.Fatal(got, err)
	}
	var config struct{ Config struct{ Env []string } }
	if err := json.Unmarshal(got.Config, &config); err != nil || len(config.Config.Env) != 1 {
		t.Error(string(got.Config), err)
	}
	if n := gets(reg, "/blobs/"); n != 1 {
		t.Errorf("%d blobs were fetched to tell what the image is", n)
	}
	pinned := name + "@" + top.String()
	before := gets(reg, "/manifests/")
	p, err := k.base(id, pinned, nil)
	if err != nil {
		t.Fatal(err)
	}
	if n := gets(reg, "/manifests/"); n != before {
		t.Error("what is known is asked for again")
	}
	if l := k.list(p); !strings.Contains(l, `a 644 0:0 "one"`) || !strings.Contains(l, `b 644 0:0 "two"`) {
		t.Error(l)
	}
	if s := k.said["extracting "+digest.FromBytes(one.Layers[0]).String()]; s.Completed == nil {
		t.Error(k.said)
	}
	if images, err := k.images.List(context.Background(), image.ListOptions{All: true}); err != nil || len(images) != 0 {
		t.Errorf("pulled for a build, and listed: %v %v", images, err)
	}
	if len(w.asked) == 0 || w.asked[0] != reg.Host() {
		t.Error(w.asked)
	}
	if p, err = k.base(id, pinned, map[string]string{pb.AttrImageLayerLimit: "1"}); err != nil || len(p) != 1 {
		t.Error(p, err)
	}
	if _, err = k.base(id, pinned, map[string]string{pb.AttrImageChecksum: digest.FromString("other").String()}); !errdefs.IsFailedPrecondition(err) {
		t.Error(err)
	}
}

func TestBasesFromHere(t *testing.T) {
	k := newKit(t)
	id, _ := k.client("")
	reg := registry(t, testkit.Faults{})
	old := reg.Push("base", "1", craft(t, "L;f /a old"))
	name := reg.Host() + "/base:1"
	if _, err := k.images.Pull(context.Background(), name, image.PullOptions{}); err != nil {
		t.Fatal(err)
	}
	next := reg.Push("base", "1", craft(t, "L;f /a new"))
	asked := len(reg.Log())
	for _, mode := range []string{"default", "local", ""} {
		if got, err := k.resolve(id, name, mode); err != nil || got.Digest != old {
			t.Error(mode, got, err)
		}
	}
	p, err := k.base(id, name, nil)
	if err != nil || !strings.Contains(k.list(p), "old") {
		t.Error(p, err)
	}
	if n := len(reg.Log()); n != asked {
		t.Errorf("the registry was asked %d times for an image that is here", n-asked)
	}
	if got, err := k.resolve(id, name, "pull"); err != nil || got.Digest != next {
		t.Error(got, err)
	}
	if p, err = k.base(id, name, map[string]string{pb.AttrImageResolveMode: "pull"}); err != nil || !strings.Contains(k.list(p), "new") {
		t.Error(p, err)
	}
	if _, err := k.resolve(id, reg.Host()+"/nobody:1", ""); !errdefs.IsNotFound(err) || !strings.Contains(err.Error(), "manifest for "+reg.Host()+"/nobody:1 not found") {
		t.Error(err)
	}
}

func TestBasesOfAClientThatKeepsItsPassword(t *testing.T) {
	k := newKit(t)
	for _, kind := range []string{"bearer", "basic"} {
		reg := registry(t, testkit.Faults{Auth: kind, User: "ann", Password: "secret"})
		reg.Push("base", "1", craft(t, "L;f /a "+kind))
		w := &wallet{user: "ann", secret: "secret", tokens: true}
		id, _ := k.client("", w)
		if _, err := k.base(id, reg.Host()+"/base:1", nil); err != nil {
			t.Error(kind, err)
		}
		if asked := len(w.asked) > 0; asked != (kind == "basic") {
			t.Errorf("%s: the password was asked for %d times", kind, len(w.asked))
		}
	}
}

func TestBasesBehindAPassword(t *testing.T) {
	k := newKit(t)
	reg := registry(t, testkit.Faults{Auth: "basic", User: "ann", Password: "secret"})
	reg.Push("base", "1", craft(t, "L;f /a x"))
	name := reg.Host() + "/base:1"
	stranger, _ := k.client("")
	if _, err := k.base(stranger, name, nil); err == nil {
		t.Error("a stranger was let in")
	}
	id, _ := k.client("", &wallet{user: "ann", secret: "secret"})
	if _, err := k.base(id, name, nil); err != nil {
		t.Error(err)
	}
}

// TestBasesThatArePruned: what a build has found here stays though its name goes, and what went before that is not found.
func TestBasesThatArePruned(t *testing.T) {
	k := newKit(t)
	ctx := context.Background()
	reg := registry(t, testkit.Faults{})
	reg.Push("base", "1", craft(t, "L;f /a old"))
	name := reg.Host() + "/base:1"
	img, err := k.images.Pull(ctx, name, image.PullOptions{})
	if err != nil {
		t.Fatal(err)
	}
	hold := k.images.Lease()
	if err := k.images.Protect(img, hold); err != nil {
		t.Fatal(err)
	}
	if _, err := k.images.Remove(ctx, name, image.RemoveOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := k.images.ConfigOf(img); err != nil {
		t.Error(err)
	}
	hold.Release()
	if _, err := k.images.Sweep(ctx); err != nil {
		t.Fatal(err)
	}
	late := k.images.Lease()
	defer late.Release()
	if err := k.images.Protect(img, late); !errdefs.IsNotFound(err) {
		t.Error(err)
	}
}

func TestIDsForNames(t *testing.T) {
	whole := strings.Repeat("0123456789abcdef", 4)
	for text, want := range map[string]string{
		"sha256:" + whole: "sha256:" + whole, whole[:12]: whole[:12],
		"sha256:" + whole + "@sha256:" + whole: "sha256:" + whole, whole[:12] + "@sha256:" + whole: "sha256:" + whole,
		"alpine": "", "sha256:latest": "", whole[:11]: "", whole[:12] + ":1": "", "r.example/" + whole[:12]: "", "me/sha256:" + whole: "",
	} {
		name, err := ref.Parse(text)
		if got := asID(name.WithDefaultTag()); err != nil || got != want {
			t.Errorf("%s: %q %v, want %q", text, got, err, want)
		}
	}
}
