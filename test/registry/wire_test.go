package registry_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cove-containers/cove/registry"
	"github.com/cove-containers/cove/repository"
	"github.com/cove-containers/cove/repository/local"
)

// Codes that only the door uses.
const (
	unsupported  repository.Code = "UNSUPPORTED"
	unauthorized repository.Code = "UNAUTHORIZED"
	unknown      repository.Code = "UNKNOWN"
)

// site is a registry in a folder, served.
type site struct {
	*testing.T
	url   string
	store *repository.Store
}

func serve(t *testing.T, dir string, change func(*registry.Parts)) *site {
	t.Helper()
	storage, err := local.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	store, err := repository.Open(t.Context(), storage, repository.Config{})
	if err != nil {
		t.Fatal(err)
	}
	p := registry.Parts{Store: store}
	if change != nil {
		change(&p)
	}
	server := httptest.NewServer(registry.New(p))
	t.Cleanup(server.Close)
	return &site{t, server.URL, store}
}

// ask sends a request; headers are "Name: value".
func (s *site) ask(method, path string, body []byte, headers ...string) (*http.Response, string) {
	s.Helper()
	r, err := http.NewRequestWithContext(s.Context(), method, s.url+path, bytes.NewReader(body))
	if err != nil {
		s.Fatal(err)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	answer, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		s.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		s.Fatalf("%s %s: %v", method, path, err)
	}
	return answer, string(text)
}

// want asks and checks status and, for errors, the code in the body.
func (s *site) want(status int, code repository.Code, method, path string, body []byte, headers ...string) *http.Response {
	s.Helper()
	answer, text := s.ask(method, path, body, headers...)
	if answer.StatusCode != status {
		s.Errorf("%s %s: status %d %s, want %d", method, path, answer.StatusCode, text, status)
	}
	if code == "" || method == http.MethodHead {
		return answer
	}
	var got struct {
		Errors []struct{ Code repository.Code }
	}
	if err := json.Unmarshal([]byte(text), &got); err != nil || len(got.Errors) != 1 || got.Errors[0].Code != code {
		s.Errorf("%s %s: %s, want code %s", method, path, text, code)
	}
	if answer.Header.Get("Content-Type") != "application/json" {
		s.Errorf("%s %s: an error of type %q", method, path, answer.Header.Get("Content-Type"))
	}
	return answer
}

func (s *site) blob(name, content string) digest.Digest {
	s.Helper()
	d := digest.FromString(content)
	s.want(http.StatusCreated, "", "POST", "/v2/"+name+"/blobs/uploads/?digest="+d.String(), []byte(content))
	return d
}

// image pushes a manifest of one config and one layer.
func (s *site) image(name, tag, content string) digest.Digest {
	s.Helper()
	config, layer := s.blob(name, "{}"), s.blob(name, content)
	text := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"text/c","digest":%q,"size":2},"layers":[{"mediaType":"text/l","digest":%q,"size":%d}]}`,
		ocispec.MediaTypeImageManifest, config, layer, len(content))
	s.want(http.StatusCreated, "", "PUT", "/v2/"+name+"/manifests/"+tag, text, "Content-Type: "+ocispec.MediaTypeImageManifest)
	return digest.FromBytes(text)
}

func TestPaths(t *testing.T) {
	s := serve(t, t.TempDir(), nil)
	d := "sha256:" + strings.Repeat("0", 64)
	for path, want := range map[string]struct {
		status int
		code   repository.Code
	}{
		"/v2/":                                  {200, ""},
		"/v2":                                   {200, ""},
		"/healthz":                              {200, ""},
		"/":                                     {200, ""},
		"/v1/":                                  {404, unsupported},
		"/v2/x":                                 {404, unsupported},
		"/v2/x/y":                               {404, unsupported},
		"/v2/../etc/passwd":                     {404, unsupported},
		"/v2/x/tags/list":                       {404, repository.NameUnknown},
		"/v2/x/manifests/latest":                {404, repository.ManifestUnknown},
		"/v2/x/manifests/" + d:                  {404, repository.ManifestUnknown},
		"/v2/x/manifests/-bad":                  {400, repository.ManifestInvalid},
		"/v2/x/manifests/sha256:12":             {400, repository.DigestInvalid},
		"/v2/x/blobs/" + d:                      {404, repository.BlobUnknown},
		"/v2/x/blobs/latest":                    {400, repository.DigestInvalid},
		"/v2/x/blobs/uploads/none":              {404, repository.BlobUploadUnknown},
		"/v2/x/blobs/uploads/..":                {404, repository.BlobUploadUnknown},
		"/v2/x/referrers/nothing":               {400, repository.DigestInvalid},
		"/v2/x/referrers/" + d:                  {200, ""},
		"/v2/../x/tags/list":                    {400, repository.NameInvalid},
		"/v2/x/../../tags/list":                 {400, repository.NameInvalid},
		"/v2/%2e%2e/%2e%2e/etc/manifests/a":     {400, repository.NameInvalid},
		"/v2/a%2f..%2fb/tags/list":              {400, repository.NameInvalid},
		"/v2/A/tags/list":                       {400, repository.NameInvalid},
		"/v2//tags/list":                        {400, repository.NameInvalid},
		"/v2/x/blobs/..%2f..%2f..%2fetc/passwd": {404, unsupported},
		"/v2/a/blobs/b/manifests/c":             {404, repository.ManifestUnknown},
		"/v2/_catalog":                          {200, ""},
		"/v2/_catalog?n=abc":                    {400, "PAGINATION_NUMBER_INVALID"},
		"/v2/_catalog?n=-1":                     {400, "PAGINATION_NUMBER_INVALID"},
		"/v2/_cove/du":                          {200, ""},
	} {
		s.want(want.status, want.code, "GET", path, nil)
		s.want(want.status, want.code, "HEAD", path, nil)
	}
	for _, method := range []string{"PATCH", "TRACE", "POST"} {
		if a := s.want(http.StatusMethodNotAllowed, unsupported, method, "/v2/x/manifests/a", nil); a.Header.Get("Allow") == "" {
			t.Error("no Allow")
		}
	}
}

func TestBlobRanges(t *testing.T) {
	s := serve(t, t.TempDir(), nil)
	d := s.blob("r", "0123456789")
	path := "/v2/r/blobs/" + d.String()
	for header, want := range map[string]struct {
		status       int
		body, ranges string
	}{
		"":                            {200, "0123456789", ""},
		"bytes=0-":                    {206, "0123456789", "bytes 0-9/10"},
		"bytes=3-5":                   {206, "345", "bytes 3-5/10"},
		"bytes=9-9":                   {206, "9", "bytes 9-9/10"},
		"bytes=5-100":                 {206, "56789", "bytes 5-9/10"},
		"bytes=-3":                    {206, "789", "bytes 7-9/10"},
		"bytes=-30":                   {206, "0123456789", "bytes 0-9/10"},
		"bytes=10-":                   {416, "", "bytes */10"},
		"bytes=99-100":                {416, "", "bytes */10"},
		"bytes=-0":                    {416, "", "bytes */10"},
		"bytes=5-3":                   {416, "", "bytes */10"},
		"bytes=a-b":                   {200, "0123456789", ""},
		"bytes=0-1,4-5":               {200, "0123456789", ""},
		"bytes=--5":                   {200, "0123456789", ""},
		"items=0-1":                   {200, "0123456789", ""},
		"bytes=99999999999999999999-": {200, "0123456789", ""},
	} {
		a, text := s.ask("GET", path, nil, "Range: "+header)
		if a.StatusCode != want.status || want.body != "" && text != want.body || a.Header.Get("Content-Range") != want.ranges {
			t.Errorf("%q: %d %q %q", header, a.StatusCode, text, a.Header.Get("Content-Range"))
		}
	}
	a, _ := s.ask("HEAD", path, nil)
	if a.ContentLength != 10 || a.Header.Get("Docker-Content-Digest") != d.String() || a.Header.Get("Accept-Ranges") != "bytes" {
		t.Errorf("head: %v", a.Header)
	}
	s.want(http.StatusNotModified, "", "GET", path, nil, `If-None-Match: "`+d.String()+`"`)
	s.want(http.StatusOK, "", "GET", path, nil, `If-None-Match: "other"`)
	if a, text := s.ask("GET", path, nil, "Range: bytes=3-5", `If-Range: "other"`); a.StatusCode != 200 || text != "0123456789" {
		t.Errorf("a range of something else: %d %q", a.StatusCode, text)
	}
}

// TestUploadsThatLie goes through what senders say of their content that is not so.
func TestUploadsThatLie(t *testing.T) {
	s := serve(t, t.TempDir(), nil)
	start := func() string {
		a := s.want(http.StatusAccepted, "", "POST", "/v2/r/blobs/uploads/", nil)
		return a.Header.Get("Location")
	}
	at := start()
	content := []byte("0123456789")
	d := digest.FromBytes(content)
	for header, want := range map[string]int{
		"5-14": 416, "1-10": 416, "0-4": 400, "0-99": 400, "9-0": 400, "a-b": 400, "-": 400, "0": 400, "-5-4": 400, "0-9223372036854775808": 400,
	} {
		a := s.want(want, map[int]repository.Code{416: repository.BlobUploadInvalid}[want], "PATCH", at, content, "Content-Range: "+header)
		if want == 416 && a.Header.Get("Range") != "0-0" {
			t.Errorf("%s: range %q", header, a.Header.Get("Range"))
		}
	}
	a := s.want(http.StatusAccepted, "", "PATCH", at, content[:4], "Content-Range: 0-3")
	if a.Header.Get("Range") != "0-3" || a.Header.Get("Location") != at {
		t.Errorf("after the first: %v", a.Header)
	}
	a = s.want(416, repository.BlobUploadInvalid, "PATCH", at, content[:4], "Content-Range: 0-3")
	if a.Header.Get("Range") != "0-3" {
		t.Errorf("the first again: %v", a.Header)
	}
	s.want(416, repository.BlobUploadInvalid, "PUT", at+"?digest="+d.String(), content[5:], "Content-Range: 5-9")
	s.want(400, repository.DigestInvalid, "PUT", at, content[4:])
	s.want(400, repository.DigestInvalid, "PUT", at+"?digest=sha256:xyz", content[4:])
	s.want(404, repository.BlobUploadUnknown, "PUT", strings.Replace(at, "/r/", "/other/", 1)+"?digest="+d.String(), content[4:])
	a = s.want(http.StatusCreated, "", "PUT", at+"?digest="+d.String(), content[4:], "Content-Range: 4-9")
	if a.Header.Get("Location") != "/v2/r/blobs/"+d.String() || a.Header.Get("Docker-Content-Digest") != d.String() {
		t.Errorf("finished: %v", a.Header)
	}
	s.want(404, repository.BlobUploadUnknown, "GET", at, nil)
	at = start()
	s.want(http.StatusNoContent, "", "GET", at, nil)
	s.want(http.StatusNoContent, "", "DELETE", at, nil)
	s.want(404, repository.BlobUploadUnknown, "PATCH", at, content)
	s.want(400, repository.DigestInvalid, "POST", "/v2/r/blobs/uploads/?digest="+digest.FromString("x").String(), content)
	s.want(404, repository.BlobUnknown, "HEAD", "/v2/r/blobs/"+digest.FromString("x").String(), nil)
}

// TestBrokenConnection cuts the connection in the middle of a PATCH: what came is kept.
func TestBrokenConnection(t *testing.T) {
	s := serve(t, t.TempDir(), nil)
	at := s.want(http.StatusAccepted, "", "POST", "/v2/r/blobs/uploads/", nil).Header.Get("Location")
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "PATCH %s HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n%s", at, strings.Repeat("x", 600))
	conn.Close()
	rest := bytes.Repeat([]byte("x"), 400)
	for range 100 {
		a, _ := s.ask("PATCH", at, rest, "Content-Range: 600-999")
		if a.StatusCode == http.StatusAccepted {
			d := digest.FromBytes(bytes.Repeat([]byte("x"), 1000))
			s.want(http.StatusCreated, "", "PUT", at+"?digest="+d.String(), nil)
			return
		}
	}
	t.Error("what came before the connection broke is lost")
}

// TestTwoOnOneUpload has a sender hang in the middle of a PATCH while another continues the same upload: the second ends
// the first, and what both sent in order is the blob.
func TestTwoOnOneUpload(t *testing.T) {
	s := serve(t, t.TempDir(), nil)
	at := s.want(http.StatusAccepted, "", "POST", "/v2/r/blobs/uploads/", nil).Header.Get("Location")
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "PATCH %s HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n%s", at, strings.Repeat("x", 600))
	time.Sleep(50 * time.Millisecond) // the first is at it now, and waits for the rest
	began := time.Now()
	s.want(http.StatusAccepted, "", "PATCH", at, []byte("yyy"), "Content-Range: 600-602")
	if waited := time.Since(began); waited > 10*time.Second {
		t.Errorf("the second waited %v", waited)
	}
	d := digest.FromString(strings.Repeat("x", 600) + "yyy")
	s.want(http.StatusCreated, "", "PUT", at+"?digest="+d.String(), nil)
	conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	if answer, _ := io.ReadAll(conn); strings.Contains(string(answer), " 202 ") {
		t.Errorf("the first is told that all went well: %s", answer)
	}
}

func TestManifests(t *testing.T) {
	s := serve(t, t.TempDir(), nil)
	d := s.image("a/b", "v1", "layer")
	for _, reference := range []string{"v1", d.String()} {
		a, text := s.ask("GET", "/v2/a/b/manifests/"+reference, nil)
		if a.StatusCode != 200 || digest.FromString(text) != d || a.Header.Get("Docker-Content-Digest") != d.String() || a.Header.Get("Content-Type") != ocispec.MediaTypeImageManifest {
			t.Errorf("%s: %d %v", reference, a.StatusCode, a.Header)
		}
		a, _ = s.ask("HEAD", "/v2/a/b/manifests/"+reference, nil)
		if a.StatusCode != 200 || a.ContentLength != int64(len(text)) || a.Header.Get("Docker-Content-Digest") != d.String() {
			t.Errorf("head %s: %d %v", reference, a.StatusCode, a.Header)
		}
		s.want(http.StatusNotModified, "", "GET", "/v2/a/b/manifests/"+reference, nil, `If-None-Match: "`+d.String()+`"`)
	}
	large := append(bytes.Repeat([]byte(" "), 5<<20), "{}"...)
	s.want(http.StatusRequestEntityTooLarge, repository.SizeInvalid, "PUT", "/v2/a/b/manifests/large", large, "Content-Type: "+ocispec.MediaTypeImageManifest)
	absent := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":{"digest":%q,"size":2},"layers":[]}`, ocispec.MediaTypeImageManifest, digest.FromString("absent"))
	s.want(http.StatusBadRequest, repository.ManifestBlobUnknown, "PUT", "/v2/a/b/manifests/absent", absent)
	s.want(http.StatusBadRequest, repository.DigestInvalid, "PUT", "/v2/a/b/manifests/"+d.String(), []byte("{}"))
	s.want(http.StatusBadRequest, repository.ManifestInvalid, "PUT", "/v2/a/b/manifests/x", []byte("no"))
	s.want(http.StatusNotFound, repository.ManifestUnknown, "GET", "/v2/a/b/manifests/absent", nil)
	s.want(http.StatusAccepted, "", "DELETE", "/v2/a/b/manifests/"+d.String(), nil)
	s.want(http.StatusNotFound, repository.ManifestUnknown, "DELETE", "/v2/a/b/manifests/"+d.String(), nil)
	s.want(http.StatusNotFound, repository.ManifestUnknown, "DELETE", "/v2/a/b/manifests/v1", nil)
}

// TestDamage changes a manifest on the disk: it is not given out.
func TestDamage(t *testing.T) {
	dir := t.TempDir()
	s := serve(t, dir, nil)
	d := s.image("r", "v1", "layer")
	storage, err := local.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := storage.Put(t.Context(), "blobs/sha256/"+d.Encoded(), strings.NewReader("{}"), 2); err != nil {
		t.Fatal(err)
	}
	s.want(http.StatusInternalServerError, unknown, "GET", "/v2/r/manifests/v1", nil)
}

func TestPaging(t *testing.T) {
	s := serve(t, t.TempDir(), nil)
	for _, tag := range []string{"a", "b", "c", "d", "e"} {
		s.image("some/where", tag, "x")
	}
	s.image("x", "a", "x")
	follow := func(path, key string) (all []string) {
		for range 10 {
			a, text := s.ask("GET", path, nil)
			var page map[string]any
			if err := json.Unmarshal([]byte(text), &page); err != nil {
				t.Fatal(err)
			}
			for _, one := range page[key].([]any) {
				all = append(all, one.(string))
			}
			link := a.Header.Get("Link")
			if link == "" {
				return all
			}
			path, _, _ = strings.Cut(strings.TrimPrefix(link, "<"), ">")
		}
		t.Error("the pages have no end")
		return all
	}
	for path, want := range map[string]string{
		"/v2/some/where/tags/list": "a b c d e", "/v2/some/where/tags/list?n=2": "a b c d e", "/v2/some/where/tags/list?n=2&last=b": "c d e",
		"/v2/some/where/tags/list?n=5": "a b c d e", "/v2/some/where/tags/list?n=0": "", "/v2/some/where/tags/list?last=zzz": "",
	} {
		if got := strings.Join(follow(path, "tags"), " "); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
	if got := strings.Join(follow("/v2/_catalog?n=1", "repositories"), " "); got != "some/where x" {
		t.Errorf("catalog: %q", got)
	}
}

// guard lets through what it is told.
type guard map[string]bool

type challenged struct{ error }

func (c challenged) Unwrap() error { return c.error }

func (challenged) Challenge() string { return `Basic realm="here"` }

func (g guard) Authorize(r *http.Request, repo string, actions ...string) error {
	if r.Header.Get("Authorization") == "" {
		return challenged{fmt.Errorf("who is it: %w", errdefs.ErrUnauthenticated)}
	}
	for _, a := range actions {
		if !g[repo+":"+a] {
			return fmt.Errorf("%s of %q is not allowed: %w", a, repo, errdefs.ErrPermissionDenied)
		}
	}
	return nil
}

func TestAccess(t *testing.T) {
	dir := t.TempDir()
	open := serve(t, dir, nil)
	d := open.image("secret", "v1", "layer")
	s := serve(t, dir, func(p *registry.Parts) {
		p.Access = guard{"mine:pull": true, "mine:push": true, "read:pull": true, ":catalog": true}
	})
	if a := s.want(http.StatusUnauthorized, unauthorized, "GET", "/v2/", nil); a.Header.Get("WWW-Authenticate") != `Basic realm="here"` {
		t.Errorf("challenge %v", a.Header)
	}
	who := "Authorization: Basic xyz"
	s.want(http.StatusOK, "", "GET", "/v2/", nil, who)
	s.want(http.StatusOK, "", "GET", "/v2/_catalog", nil, who)
	for _, call := range []string{
		"GET /v2/secret/manifests/v1", "GET /v2/secret/manifests/none", "GET /v2/secret/tags/list", "GET /v2/secret/blobs/" + d.String(), "GET /v2/secret/referrers/" + d.String(),
		"PUT /v2/secret/manifests/v1", "PUT /v2/read/manifests/v1", "DELETE /v2/mine/manifests/v1", "DELETE /v2/mine/blobs/" + d.String(),
		"POST /v2/secret/blobs/uploads/", "POST /v2/read/blobs/uploads/", "POST /v2/_cove/gc", "GET /v2/_cove/du",
	} {
		method, path, _ := strings.Cut(call, " ")
		s.want(http.StatusForbidden, repository.Denied, method, path, nil, who)
	}
	// What may not be read may not be mounted either, nor found by asking without a source.
	blob := digest.FromString("layer").String()
	for _, query := range []string{"?mount=" + blob + "&from=secret", "?mount=" + blob} {
		s.want(http.StatusAccepted, "", "POST", "/v2/mine/blobs/uploads/"+query, nil, who)
	}
	open.want(http.StatusCreated, "", "POST", "/v2/mine/blobs/uploads/?mount="+blob, nil)
}

func TestReadOnly(t *testing.T) {
	dir := t.TempDir()
	d := serve(t, dir, nil).image("r", "v1", "layer")
	s := serve(t, dir, func(p *registry.Parts) { p.ReadOnly = true })
	s.want(http.StatusOK, "", "GET", "/v2/r/manifests/v1", nil)
	for _, call := range []string{"PUT /v2/r/manifests/v2", "POST /v2/r/blobs/uploads/", "DELETE /v2/r/manifests/v1", "DELETE /v2/r/blobs/" + d.String()} {
		method, path, _ := strings.Cut(call, " ")
		s.want(http.StatusMethodNotAllowed, unsupported, method, path, nil)
	}
}

func TestMetrics(t *testing.T) {
	s := serve(t, t.TempDir(), nil)
	s.image("r", "v1", "layer")
	s.ask("GET", "/v2/r/manifests/none", nil)
	s.want(http.StatusOK, "", "POST", "/v2/_cove/gc", nil)
	_, text := s.ask("GET", "/metrics", nil)
	for _, line := range []string{
		`cove_registry_request_duration_seconds_count{method="PUT",resource="manifests",status="201"} 1`,
		`cove_registry_request_duration_seconds_count{method="GET",resource="manifests",status="404"} 1`,
		`cove_registry_gc_removed_total{what="blobs"} 0`,
		"cove_registry_received_bytes_total ", "process_open_fds ",
	} {
		if !strings.Contains(text, line) {
			t.Errorf("no line %s", line)
		}
	}
}

// TestGivenUp: a request that is given up before it is answered, as at the end of the registry, is not answered by silence, which would
// be sent as a success.
func TestGivenUp(t *testing.T) {
	storage, err := local.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	store, err := repository.Open(t.Context(), storage, repository.Config{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	w := httptest.NewRecorder()
	w.Code = 0
	d := digest.FromString("x")
	r := httptest.NewRequestWithContext(ctx, "POST", "/v2/a/blobs/uploads/?digest="+d.String(), strings.NewReader("x"))
	registry.New(registry.Parts{Store: store}).ServeHTTP(w, r)
	if w.Code != http.StatusServiceUnavailable {
		t.Errorf("status %d %s", w.Code, w.Body)
	}
}
