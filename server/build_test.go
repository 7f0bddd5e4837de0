package server

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/build"
	"github.com/moby/moby/api/types/jsonstream"

	"github.com/cove-containers/cove/api"
)

// fakeBuilds says what it is told to build, and what it is asked to say.
type fakeBuilds struct {
	*record
	say     []string
	records []build.CacheRecord
	err     error
	asked   *api.BuildOptions
	body    *string
}

func (f fakeBuilds) Build(_ context.Context, o api.BuildOptions, body io.Reader, emit func(jsonstream.Message) error) error {
	raw, err := io.ReadAll(body)
	if err != nil {
		return err
	}
	if f.asked != nil {
		*f.asked, *f.body = o, string(raw)
	}
	for _, line := range f.say {
		if err := emit(jsonstream.Message{Stream: line}); err != nil {
			return err
		}
	}
	return f.err
}
func (f fakeBuilds) CancelBuild(id string) { f.note("cancel %s", id) }
func (f fakeBuilds) PruneBuilds(_ context.Context, o api.BuildPruneOptions) (build.CachePruneReport, error) {
	f.note("prune %v %v %d %d", o.All, o.Filters, o.Unused, o.ReservedSpace)
	return build.CachePruneReport{CachesDeleted: []string{"x"}, SpaceReclaimed: 5}, nil
}
func (f fakeBuilds) BuildUsage(context.Context) ([]build.CacheRecord, error) {
	return f.records, nil
}

func TestBuildParameters(t *testing.T) {
	q := url.Values{
		"t": {"a", "b:c"}, "dockerfile": {"D"}, "q": {"1"}, "nocache": {"1"}, "pull": {"1"}, "target": {"x"},
		"buildargs": {`{"A":"1","B":null}`}, "labels": {`{"l":"v"}`}, "cachefrom": {`["i"]`}, "shmsize": {"1024"},
		"ulimits": {`[{"Name":"nofile","Soft":1,"Hard":2}]`}, "extrahosts": {"h:1.2.3.4"}, "networkmode": {"none"},
		"memory": {"5"}, "outputs": {`[{"Type":"local","Attrs":{"dest":"d"}}]`}, "platform": {"linux/arm64"},
		"version": {"2"}, "buildid": {"id"}, "session": {"s"}, "remote": {"client-session"},
	}
	var o api.BuildOptions
	var body string
	w := ask(t, Parts{Builds: fakeBuilds{asked: &o, body: &body}}, http.MethodPost, "/v1.41/build?"+q.Encode(), "tar")
	if w.Code != 200 || body != "tar" {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	got := fmt.Sprintf("%v %s %v%v%v %s %s %v %v %v %d %s=%d:%d %v %s %d %v %s %v %s %s %s", o.Tags, o.Dockerfile, o.Quiet, o.NoCache, o.Pull,
		o.Target, *o.Args["A"], o.Args["B"], o.Labels, o.CacheFrom, o.ShmSize, o.Ulimits[0].Name, o.Ulimits[0].Soft, o.Ulimits[0].Hard,
		o.ExtraHosts, o.Network, o.Memory, o.Outputs, o.Platform, o.BuildKit, o.ID, o.Session, o.Remote)
	want := "[a b:c] D truetruetrue x 1 <nil> map[l:v] [i] 1024 nofile=1:2 [h:1.2.3.4] none 5 [{local map[dest:d]}] linux/arm64 true id s client-session"
	if got != want {
		t.Errorf("%s", got)
	}
	for query, message := range map[string]string{
		"t=A":             "repository name",
		"shmsize=x":       "invalid value for shmsize",
		"buildargs=x":     "error reading build args",
		"ulimits=[null]":  "error reading ulimit settings",
		"version=3":       "invalid version 3",
		"isolation=hyper": "Invalid isolation",
		"securityopt=x":   "does not support setting security options on build",
	} {
		if w := ask(t, Parts{}, http.MethodPost, "/build?"+query, ""); w.Code != 400 || !strings.Contains(w.Body.String(), message) {
			t.Errorf("%s: %d %s", query, w.Code, w.Body)
		}
	}
	raw := base64.URLEncoding.EncodeToString([]byte(`{"r.example":{"username":"u","password":"p"}}`))
	if all := registryConfig(raw); all["r.example"].Password != "p" || registryConfig("?") != nil {
		t.Errorf("credentials: %v", all)
	}
}

func TestBuildStream(t *testing.T) {
	for name, test := range map[string]struct {
		builds fakeBuilds
		status int
		body   string
	}{
		"said":   {fakeBuilds{say: []string{"Step 1/1 : FROM a\n"}}, 200, `{"stream":"Step 1/1 : FROM a\n"}` + "\r\n"},
		"failed": {fakeBuilds{err: &api.BuildFailure{Message: "it said 7", Code: 7}}, 200, `{"errorDetail":{"code":7,"message":"it said 7"},"error":"it said 7"}` + "\r\n"},
		"late":   {fakeBuilds{say: []string{"a"}, err: errors.New("no")}, 200, "{\"stream\":\"a\"}\r\n" + `{"errorDetail":{"message":"no"},"error":"no"}` + "\r\n"},
		"early":  {fakeBuilds{err: errdefs.ErrInvalidArgument.WithMessage("no Dockerfile")}, 400, `{"message":"no Dockerfile"}` + "\n"},
	} {
		if w := ask(t, Parts{Builds: test.builds}, http.MethodPost, "/build", ""); w.Code != test.status || w.Body.String() != test.body {
			t.Errorf("%s: %d %q", name, w.Code, w.Body)
		}
	}
}

func TestBuildCacheCalls(t *testing.T) {
	for query, want := range map[string]string{
		"":      "prune false [] 0 0",
		"all=1": "prune true [] 0 0",
		"keep-storage=7&filters=" + url.QueryEscape(`{"until":{"2s":true},"id":{"x":true},"type":{"regular":true}}`): "prune false [id~=x,type==regular] 2000000000 7",
		"filters=" + url.QueryEscape(`{"label":{"x":true}}`):                                                         "",
	} {
		r := &record{}
		w := ask(t, Parts{Builds: fakeBuilds{record: r}}, http.MethodPost, "/build/prune?"+query, "")
		if w.Code != 200 || strings.Join(r.calls, "") != want {
			t.Errorf("%s: %d %s %q", query, w.Code, w.Body, r.calls)
		}
	}
	for _, query := range []string{"keep-storage=x", "filters=" + url.QueryEscape(`{"nope":{"x":true}}`), "filters=" + url.QueryEscape(`{"until":{"x":true}}`)} {
		if w := ask(t, Parts{Builds: fakeBuilds{}}, http.MethodPost, "/build/prune?"+query, ""); w.Code != 400 {
			t.Errorf("%s: %d %s", query, w.Code, w.Body)
		}
	}
	if sum := cacheUsage([]build.CacheRecord{{Size: 3, InUse: true}, {Size: 4}, {Size: 5, Shared: true}}, false); sum.TotalSize != 7 || sum.Reclaimable != 4 || sum.ActiveCount != 1 || sum.Items != nil {
		t.Errorf("%+v", sum)
	}
}

// fakeBuildKit echoes what comes over connections it is given.
type fakeBuildKit struct{ taken string }

func (f fakeBuildKit) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	fmt.Fprint(w, r.Proto, " ", r.URL.Path)
}
func (f fakeBuildKit) ServeConn(conn net.Conn) {
	go func() { _, _ = io.Copy(conn, conn); conn.Close() }()
}
func (f fakeBuildKit) SessionFree(_ context.Context, id string) error {
	if id == f.taken {
		return errdefs.ErrInvalidArgument.WithMessage("session " + id + " already exists")
	}
	return nil
}
func (f fakeBuildKit) Session(_ context.Context, conn net.Conn, headers map[string][]string) error {
	_, err := fmt.Fprint(conn, "hello ", headers["X-Docker-Expose-Session-Uuid"][0])
	return err
}

func TestUpgradeToHTTP2(t *testing.T) {
	_, path := serve(t, Parts{BuildKit: fakeBuildKit{taken: "old"}})
	upgrade := func(where, id string) (*http.Response, *bufio.Reader, net.Conn) {
		t.Helper()
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nX-Docker-Expose-Session-Uuid: %s\r\n\r\nearly", where, id)
		reader := bufio.NewReader(conn)
		answer, err := http.ReadResponse(reader, nil)
		if err != nil {
			t.Fatal(err)
		}
		return answer, reader, conn
	}
	answer, reader, conn := upgrade("/v1.50/grpc", "")
	if answer.StatusCode != 101 || answer.Header.Get("Upgrade") != "h2c" {
		t.Errorf("%+v", answer)
	}
	if err := conn.(*net.UnixConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if said, err := io.ReadAll(reader); err != nil || string(said) != "early" {
		t.Errorf("%q %v", said, err)
	}
	answer, reader, _ = upgrade("/session", "new")
	if said, err := io.ReadAll(reader); err != nil || answer.StatusCode != 101 || string(said) != "hello new" {
		t.Errorf("%d %q %v", answer.StatusCode, said, err)
	}
	if answer, _, _ = upgrade("/session", "old"); answer.StatusCode != 400 {
		t.Errorf("a second session of the same name: %d", answer.StatusCode)
	}

	// HTTP/2 from the first byte, as clients of gRPC speak it.
	web := &http.Client{Transport: &http.Transport{Protocols: &http.Protocols{}, DialContext: func(context.Context, string, string) (net.Conn, error) {
		return net.Dial("unix", path)
	}}}
	web.Transport.(*http.Transport).Protocols.SetUnencryptedHTTP2(true)
	grpc, err := web.Post("http://d/moby.buildkit.v1.Control/Info", "application/grpc", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer grpc.Body.Close()
	if said, _ := io.ReadAll(grpc.Body); string(said) != "HTTP/2.0 /moby.buildkit.v1.Control/Info" {
		t.Errorf("%d %q", grpc.StatusCode, said)
	}
	plain, err := web.Post("http://d/grpc", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	plain.Body.Close()
	if plain.StatusCode != 400 {
		t.Errorf("an upgrade inside HTTP/2: %d", plain.StatusCode)
	}
}
