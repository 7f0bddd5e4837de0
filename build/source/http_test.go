package source

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/session/secrets/secretsprovider"
	"github.com/moby/buildkit/session/upload/uploadprovider"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
)

// shelf is a server with one file.
type shelf struct {
	mu             sync.Mutex
	body, etag     string
	modified       time.Time
	password, name string
	log            []string
}

func (s *shelf) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log = append(s.log, r.Method)
	if s.password != "" && r.Header.Get("Authorization") != s.password {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	if r.URL.Path == "/none" {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	if s.etag != "" {
		w.Header().Set("ETag", s.etag)
	}
	if !s.modified.IsZero() {
		w.Header().Set("Last-Modified", s.modified.UTC().Format(http.TimeFormat))
	}
	if s.name != "" {
		w.Header().Set("Content-Disposition", "attachment; filename="+s.name)
	}
	if s.etag != "" && r.Header.Get("If-None-Match") == s.etag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	if r.Method == http.MethodGet {
		io.WriteString(w, s.body)
	}
}

func (s *shelf) asked() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer func() { s.log = nil }()
	return strings.Join(s.log, " ")
}

// load does the source and tells its key and what it holds.
func (k *kit) load(url, id string, attrs map[string]string) (digest.Digest, string, error) {
	k.t.Helper()
	s, err := k.maker.Op(&pb.SourceOp{Identifier: url, Attrs: attrs}, nil)
	if err != nil {
		return "", "", err
	}
	env, done := k.env(id)
	defer done()
	key, err := s.Key(context.Background(), env)
	if err != nil {
		return "", "", err
	}
	if had, ok := env.Lease.Lookup(key.Digest); ok {
		return key.Digest, k.list(had.Piles[0]), nil
	}
	out, err := s.Run(context.Background(), env, nil)
	if err != nil {
		return "", "", err
	}
	return key.Digest, k.list(out.Refs[0].Pile), nil
}

func TestDownloads(t *testing.T) { // DF-17
	k := newKit(t)
	id, _ := k.client("")
	at := time.Date(2020, 2, 3, 4, 5, 6, 0, time.UTC)
	s := &shelf{body: "content", etag: `"one"`, modified: at}
	server := httptest.NewServer(s)
	defer server.Close()

	first, list, err := k.load(server.URL+"/dir/t.tar.gz", id, nil)
	if want := fmt.Sprintf("t.tar.gz 600 0:0 \"content\" %d\n", at.UnixNano()); err != nil || list != want {
		t.Fatal(list, err)
	}
	if asked := s.asked(); asked != "GET" {
		t.Error(asked)
	}
	if again, _, err := k.load(server.URL+"/dir/t.tar.gz", id, nil); err != nil || again != first {
		t.Error(err)
	}
	if asked := s.asked(); asked != "HEAD" {
		t.Error(asked)
	}
	s.body, s.etag = "other", `W/"two"`
	changed, list, err := k.load(server.URL+"/dir/t.tar.gz", id, nil)
	if err != nil || changed == first || !strings.Contains(list, "other") {
		t.Error(list, err)
	}
	s.etag = ""
	s.asked()
	for range 2 {
		if again, _, err := k.load(server.URL+"/dir/t.tar.gz", id, nil); err != nil || again != changed {
			t.Error(err)
		}
	}
	if asked := s.asked(); asked != "HEAD GET GET" {
		t.Error(asked)
	}
	s.name = "../../x y"
	attrs := map[string]string{pb.AttrHTTPPerm: "0750", pb.AttrHTTPUID: "3", pb.AttrHTTPGID: "4"}
	if _, list, err = k.load(server.URL, id, attrs); err != nil || !strings.HasPrefix(list, "y 750 3:4") && !strings.HasPrefix(list, "download 750 3:4") {
		t.Error(list, err)
	}
	attrs[pb.AttrHTTPFilename] = "named"
	if _, list, err = k.load(server.URL, id, attrs); err != nil || !strings.HasPrefix(list, "named 750 3:4") {
		t.Error(list, err)
	}
	if _, _, err = k.load(server.URL+"/none", id, nil); !errdefs.IsNotFound(err) || !strings.Contains(err.Error(), "404") {
		t.Error(err)
	}
}

func TestDownloadsWithChecksum(t *testing.T) {
	k := newKit(t)
	id, _ := k.client("")
	s := &shelf{body: "content"}
	server := httptest.NewServer(s)
	defer server.Close()
	attrs := map[string]string{pb.AttrHTTPChecksum: digest.FromString("content").String()}
	if _, list, err := k.load(server.URL+"/f", id, attrs); err != nil || !strings.Contains(list, `f 600 0:0 "content" 0`) {
		t.Error(list, err)
	}
	env, done := k.env(id)
	defer done()
	d, err := k.maker.Resolve(context.Background(), env, &pb.SourceOp{Identifier: server.URL + "/f"}, sourceresolver.Opt{})
	if err != nil || d.HTTP.Digest != digest.FromString("content") || d.HTTP.Filename != "f" {
		t.Error(d, err)
	}
	attrs[pb.AttrHTTPChecksum] = digest.FromString("other").String()
	if _, _, err := k.load(server.URL+"/f", id, attrs); err == nil || !strings.Contains(err.Error(), "digest mismatch") {
		t.Error(err)
	}
	if left := k.layers.Built(); len(left) != 1 {
		t.Error(left)
	}
}

func TestDownloadsWithSecrets(t *testing.T) {
	k := newKit(t)
	s := &shelf{body: "content", password: "Bearer me"}
	server := httptest.NewServer(s)
	defer server.Close()
	host := "127.0.0.1"
	for name, value := range map[string]string{"HTTP_AUTH_TOKEN_" + host: "me", "HTTP_AUTH_HEADER_" + host: "Bearer me", "mine": "Bearer me"} {
		id, _ := k.client("", secretsprovider.FromMap(map[string][]byte{name: []byte(value)}))
		attrs := map[string]string{}
		if name == "mine" {
			attrs[pb.AttrHTTPAuthHeaderSecret] = name
		}
		if _, _, err := k.load(server.URL+"/f", id, attrs); err != nil {
			t.Error(name, err)
		}
	}
	id, _ := k.client("")
	if _, _, err := k.load(server.URL+"/f", id, nil); !errdefs.IsUnauthorized(err) {
		t.Error(err)
	}
	if _, _, err := k.load(server.URL+"/f", id, map[string]string{pb.AttrHTTPAuthHeaderSecret: "mine"}); err == nil || !strings.Contains(err.Error(), "mine") {
		t.Error(err)
	}
	if _, _, err := k.load("http://ann:secret@127.0.0.1:1/f", id, nil); err == nil || strings.Contains(err.Error(), "secret") {
		t.Error(err)
	}
}

func TestUploads(t *testing.T) {
	k := newKit(t)
	up := uploadprovider.New()
	url := up.Add(io.NopCloser(strings.NewReader("from a pipe")))
	id, _ := k.client("", up)
	var wait sync.WaitGroup
	for range 4 { // the client gives it once
		wait.Go(func() {
			if _, list, err := k.load(url, id, nil); err != nil || !strings.Contains(list, `"from a pipe"`) {
				t.Error(list, err)
			}
		})
	}
	wait.Wait()
	other, _ := k.client("")
	if _, list, err := k.load(url, other, nil); err == nil {
		t.Error("another client got at it:", list)
	}
}
