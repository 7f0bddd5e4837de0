package buildkit

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	gateway "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/auth"
	ct "github.com/moby/moby/api/types/container"
	js "github.com/moby/moby/api/types/jsonstream"
	"github.com/moby/moby/api/types/registry"

	"github.com/cove-containers/cove/api"
	"github.com/cove-containers/cove/build"
	"github.com/cove-containers/cove/testkit"
)

// classicDoor is a door whose builds do what solve says; the sessions of the request are looked at.
func classicDoor(t *testing.T, solve func(ctx context.Context, d *Door, r build.Request) (*build.Response, error)) *Door {
	t.Helper()
	sessions, err := session.NewManager()
	if err != nil {
		t.Fatal(err)
	}
	var d *Door
	d = New(Parts{
		Builder:  &fakeBuilder{solve: func(ctx context.Context, r build.Request) (*build.Response, error) { return solve(ctx, d, r) }},
		Sessions: sessions, Scratch: t.TempDir(), Entitlements: []string{"network.host"},
	})
	t.Cleanup(d.Close)
	return d
}

func ignore(js.Message) error { return nil }

func TestClassicParametersInFrontEndsWords(t *testing.T) {
	var got build.Request
	d := classicDoor(t, func(_ context.Context, _ *Door, r build.Request) (*build.Response, error) {
		got = r
		return &build.Response{}, nil
	})
	one := "1"
	err := d.Build(t.Context(), api.BuildOptions{
		Tags: []string{"a", "h:1/b:c"}, Dockerfile: "D", Remote: "https://example.com/x.git", Args: map[string]*string{"A": &one, "B": nil, "BUILDKIT_INLINE_CACHE": &one},
		Labels: map[string]string{"l": "v"}, CacheFrom: []string{"i"}, NoCache: true, Pull: true, Squash: true, Network: "host", ExtraHosts: []string{"x:10.0.0.1", "y=::1"},
		Ulimits: []*ct.Ulimit{{Name: "nofile", Soft: 1, Hard: 2}}, ShmSize: 3, Memory: 4,
	}, strings.NewReader("not looked at"), ignore)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"filename": "D", "context": "https://example.com/x.git", "build-arg:A": "1", "label:l": "v", "no-cache": "", "image-resolve-mode": "pull",
		"force-network-mode": "host", "add-hosts": "x=10.0.0.1,y=::1", "ulimit": "nofile=1:2", "shm-size": "3", "run:memory": "4",
	} {
		if value, ok := got.Options[name]; !ok || value != want {
			t.Errorf("%s: %q", name, value)
		}
	}
	if _, ok := got.Options["build-arg:B"]; ok {
		t.Error("an argument without a value was passed on")
	}
	if e := got.Exporters; len(e) != 1 || e[0].Type != "moby" || e[0].Attrs["name"] != "docker.io/library/a:latest,h:1/b:c" || e[0].Attrs["squash"] != "true" {
		t.Errorf("%+v", e)
	}
	if len(got.Entitlements) != 1 || len(got.CacheImports) != 1 || len(got.CacheExports) != 1 {
		t.Errorf("%+v", got)
	}
	for what, o := range map[string]api.BuildOptions{
		"host": {ExtraHosts: []string{"x"}}, "address": {ExtraHosts: []string{"x:y"}}, "digest": {Tags: []string{"a@sha256:" + strings.Repeat("0", 64)}},
		"session": {Remote: "client-session", BuildKit: true},
	} {
		if err := d.Build(t.Context(), o, strings.NewReader(""), ignore); !errors.Is(err, errdefs.ErrInvalidArgument) {
			t.Errorf("%s: %v", what, err)
		}
	}
	d.Entitlements = nil
	if err := d.Build(t.Context(), api.BuildOptions{Network: "host"}, strings.NewReader(""), ignore); !errors.Is(err, errdefs.ErrPermissionDenied) {
		t.Errorf("the host's network: %v", err)
	}
}

// TestClassicContext: the builder finds the body and the credentials in a session, and nothing of them is left.
func TestClassicContext(t *testing.T) {
	d := classicDoor(t, func(ctx context.Context, d *Door, r build.Request) (*build.Response, error) {
		if !strings.HasPrefix(r.Options["context"], uploadURL) || len(r.Sessions) != 1 {
			t.Errorf("%+v", r)
		}
		caller, err := d.Sessions.Get(ctx, r.Sessions[0], false)
		if err != nil {
			return nil, err
		}
		if !caller.Supports("/moby.upload.v1.Upload/Pull") {
			t.Error("the context cannot be asked for")
		}
		for host, want := range map[string]string{"registry-1.docker.io": "hub", "r.example": "u", "other": ""} {
			known, err := auth.NewAuthClient(caller.Conn()).Credentials(ctx, &auth.CredentialsRequest{Host: host})
			if err != nil || known.Username != want {
				t.Errorf("%s: %+v %v", host, known, err)
			}
		}
		return &build.Response{Exporter: map[string]string{"containerimage.digest": "sha256:0123456789abcdef"}}, nil
	})
	var said strings.Builder
	err := d.Build(t.Context(), api.BuildOptions{Tags: []string{"a"}, Auth: map[string]registry.AuthConfig{
		"https://index.docker.io/v1/": {Username: "hub", Password: "p"}, "r.example": {Auth: "dTpw"},
	}}, strings.NewReader("FROM x"), func(m js.Message) error {
		said.WriteString(m.Stream)
		if m.Aux != nil {
			said.Write(*m.Aux)
		}
		return nil
	})
	if err != nil || said.String() != `{"ID":"sha256:0123456789abcdef"}`+"Successfully built 0123456789ab\nSuccessfully tagged a:latest\n" {
		t.Errorf("%q %v", said.String(), err)
	}
	if left, err := os.ReadDir(d.Scratch); err != nil || len(left) != 0 {
		t.Errorf("left: %v %v", left, err)
	}
}

func TestClassicFailure(t *testing.T) {
	d := classicDoor(t, func(context.Context, *Door, build.Request) (*build.Response, error) {
		return nil, &gateway.ExitError{ExitCode: 7, Err: errors.New(`process "/bin/sh -c exit 7" did not complete successfully: exit code: 7`)}
	})
	err := d.Build(t.Context(), api.BuildOptions{}, strings.NewReader("FROM x"), ignore)
	var failed *api.BuildFailure
	if !errors.As(err, &failed) || failed.Code != 7 || failed.Message != "The command '/bin/sh -c exit 7' returned a non-zero code: 7" {
		t.Errorf("%v", err)
	}
	d = classicDoor(t, func(context.Context, *Door, build.Request) (*build.Response, error) {
		return nil, &gateway.ExitError{ExitCode: 255, Err: errors.New(`process "/bin/sh -c true" did not complete successfully: unable to find user nosuch`)}
	})
	if err := d.Build(t.Context(), api.BuildOptions{}, strings.NewReader("FROM x"), ignore); err == nil || !strings.Contains(err.Error(), "unable to find user nosuch") {
		t.Errorf("a command that cannot begin: %v", err)
	}
	broken := io.MultiReader(strings.NewReader("FROM"), failing{})
	if err := d.Build(t.Context(), api.BuildOptions{}, broken, ignore); err == nil || !strings.Contains(err.Error(), "read build context") {
		t.Errorf("a body that breaks off: %v", err)
	}
	if left, _ := os.ReadDir(d.Scratch); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// TestContextByAnotherCall: the body comes by a call of its own, whichever of the two is first.
func TestContextByAnotherCall(t *testing.T) {
	for _, first := range []string{"build", "body"} {
		d := classicDoor(t, func(_ context.Context, _ *Door, r build.Request) (*build.Response, error) {
			if len(r.Sessions) != 2 || r.Sessions[0] != "client" {
				t.Errorf("%v", r.Sessions)
			}
			return &build.Response{}, nil
		})
		calls := map[string]func() error{
			"build": func() error {
				return d.Build(t.Context(), api.BuildOptions{BuildKit: true, ID: "x", Session: "client", Remote: "upload-request"}, nil, ignore)
			},
			"body": func() error {
				return d.Build(t.Context(), api.BuildOptions{BuildKit: true, ID: "upload-request:x"}, bytes.NewReader(make([]byte, 1<<20)), ignore)
			},
		}
		ended := make(chan error, 2)
		go func() { ended <- calls[first]() }()
		time.Sleep(10 * time.Millisecond)
		for name, call := range calls {
			if name != first {
				go func() { ended <- call() }()
			}
		}
		for range calls {
			if err := <-ended; err != nil {
				t.Errorf("%s first: %v", first, err)
			}
		}
	}
}

// TestContextThatCannotBeRead: the call that brings it ends with the build's.
func TestContextThatCannotBeRead(t *testing.T) {
	d := classicDoor(t, nil)
	d.Scratch = "/nowhere"
	ended := make(chan error, 2)
	go func() {
		ended <- d.Build(t.Context(), api.BuildOptions{BuildKit: true, ID: "x", Session: "client", Remote: "upload-request"}, nil, ignore)
	}()
	go func() {
		ended <- d.Build(t.Context(), api.BuildOptions{BuildKit: true, ID: "upload-request:x"}, strings.NewReader("FROM x"), ignore)
	}()
	failed := 0
	for range 2 {
		select {
		case err := <-ended:
			if err != nil {
				failed++
			}
		case <-time.After(20 * time.Second):
			t.Fatal("a call hangs")
		}
	}
	if failed != 1 {
		t.Errorf("%d calls failed", failed)
	}
}

func TestCancelByID(t *testing.T) {
	begun := make(chan struct{})
	d := classicDoor(t, func(ctx context.Context, _ *Door, _ build.Request) (*build.Response, error) {
		close(begun)
		<-ctx.Done()
		return nil, context.Cause(ctx)
	})
	ended := make(chan error, 1)
	go func() {
		ended <- d.Build(t.Context(), api.BuildOptions{ID: "mine"}, strings.NewReader("FROM x"), ignore)
	}()
	<-begun
	d.CancelBuild("another")
	d.CancelBuild("mine")
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// TestSameID: of builds that have the same ID none loses its way to be cancelled when another one ends.
func TestSameID(t *testing.T) {
	var c cancels
	first, endFirst := c.watch(t.Context(), "x")
	second, endSecond := c.watch(t.Context(), "x")
	endFirst()
	if first.Err() == nil || second.Err() != nil {
		t.Error(first.Err(), second.Err())
	}
	c.cancel("x")
	if second.Err() == nil {
		t.Error("the second cannot be cancelled")
	}
	endSecond()
	var u uploads
	ours, leave := u.place("x")
	theirs, leaveToo := u.place("x")
	leave()
	again, leaveAgain := u.place("x")
	if ours != theirs || again != theirs {
		t.Error("they do not meet")
	}
	leaveToo()
	leaveAgain()
	if len(c.of)+len(u.waiting) != 0 {
		t.Error(c.of, u.waiting)
	}
}

// TestContextThatDoesNotFit: a body that is small on the wire, and nothing is left of it.
func TestContextThatDoesNotFit(t *testing.T) {
	dir := testkit.SmallDisk(t, "16")
	var body bytes.Buffer
	z := gzip.NewWriter(&body)
	if _, err := z.Write(make([]byte, 64<<20)); err != nil {
		t.Fatal(err)
	}
	z.Close()
	if _, err := spool(dir, &body); !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "read build context: ") {
		t.Error(err)
	}
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil || st.Bfree*uint64(st.Bsize) < 15<<20 {
		t.Error(st.Bfree, err)
	}
}

// lastTogether is a body whose end comes with its last bytes, and which is closed when its call has been told of that.
type lastTogether struct {
	text string
	read chan struct{}
}

func (l *lastTogether) Read(p []byte) (int, error) {
	select {
	case <-l.read:
		return 0, http.ErrBodyReadAfterClose
	default:
		return copy(p, l.text), io.EOF
	}
}

// TestContextIsReadToItsEnd: the call that brings a context is over as soon as its end has been read, and nobody reads from it after that.
func TestContextIsReadToItsEnd(t *testing.T) {
	read := make(chan struct{})
	f, err := spool(t.TempDir(), &signalled{Reader: &lastTogether{"FROM busybox", read}, read: read})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if text, err := io.ReadAll(io.NewSectionReader(f, 0, 100)); err != nil || string(text) != "FROM busybox" {
		t.Errorf("%q, %v", text, err)
	}
}

func TestShortLastBlock(t *testing.T) {
	for text, want := range map[string]int64{"FROM x": 6, strings.Repeat("\x00", 257) + "ustar" + strings.Repeat("\x00", 300): 1024} {
		f, err := spool(t.TempDir(), strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if size, _ := f.Seek(0, io.SeekEnd); size != want {
			t.Errorf("%d bytes became %d", len(text), size)
		}
		f.Close()
	}
}
