package remote

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cove-containers/cove/testkit"
)

func content(n int) ([]byte, Upload) {
	body := bytes.Repeat([]byte("0123456789abcdef"), n/16+1)[:n]
	return body, Upload{Desc: ocispec.Descriptor{Digest: digest.FromBytes(body), Size: int64(n)}, Content: bytes.NewReader(body)}
}

// methods lists what was asked of a registry, and sums the bytes it took.
func methods(r *testkit.Registry) (list []string, taken int64) {
	for _, q := range r.Log() {
		list = append(list, fmt.Sprintf("%s %d", q.Method, q.Status))
		taken += q.Bytes
	}
	return list, taken
}

func user() *Session { return NewSession(Credentials{Username: "u", Password: "p"}) }

// fetch reads a blob back.
func fetch(t *testing.T, r *testkit.Registry, repository string, desc ocispec.Descriptor) []byte {
	t.Helper()
	body, _, err := client(t, Config{}).Blob(t.Context(), name(t, r.Host()+"/"+repository), desc, 0, user())
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	got, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// TestUpload: a blob goes out in whatever way the registry takes it, and never twice.
func TestUpload(t *testing.T) {
	for _, tt := range []struct {
		name   string
		faults testkit.Faults
		size   int
		want   string
		extra  int64 // bytes that may be sent more than once
	}{
		{"plain", testkit.Faults{}, 1000, "HEAD 404, POST 202, PUT 201", 0},
		{"empty", testkit.Faults{}, 0, "HEAD 404, POST 202, PUT 201", 0},
		{"RG-5 relative location", testkit.Faults{RelativeLocation: true}, 1000, "HEAD 404, POST 202, PUT 201", 0},
		{"elsewhere", testkit.Faults{UploadElsewhere: true, Auth: "bearer", User: "u", Password: "p"}, 1000, "HEAD 401, GET 200, HEAD 404, POST 202, PUT 201", 0},
		{"RG-7 429", testkit.Faults{RefuseUploads: 1, RetryAfter: "1"}, 1000, "HEAD 404, POST 202, PUT 429, HEAD 404, GET 204, PUT 201", 1000},
		{"cut", testkit.Faults{CutUpload: 700}, 1000, "HEAD 404, POST 202, PUT 0, HEAD 404, GET 204, PATCH 202, PUT 201", 0},
		{"cut, relative location", testkit.Faults{CutUpload: 700, RelativeLocation: true}, 1000, "HEAD 404, POST 202, PUT 0, HEAD 404, GET 204, PATCH 202, PUT 201", 0},
		{"cut and forgotten", testkit.Faults{CutUpload: 700, Forgetful: true}, 1000, "HEAD 404, POST 202, PUT 0, HEAD 404, GET 404, POST 202, PUT 201", 700},
		{"cut, no pieces", testkit.Faults{CutUpload: 700, RefusePieces: true}, 1000, "HEAD 404, POST 202, PUT 0, HEAD 404, GET 204, PATCH 405, HEAD 404, POST 202, PUT 201", 1400},
		{"too large at once", testkit.Faults{MaxBody: 20 << 20}, 40 << 20, "HEAD 404, POST 202, PUT 413, HEAD 404, GET 204, PATCH 202, PATCH 202, PATCH 202, PUT 201", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := start(t, tt.faults)
			body, u := content(tt.size)
			var sent int64
			u.Sent = func(n int64) { sent = n }
			session := user()
			c := client(t, Config{})
			outcome, err := c.PutBlob(t.Context(), name(t, r.Host()+"/x"), u, session)
			if err != nil || outcome.Existed || outcome.MountedFrom != "" {
				t.Fatalf("%+v %v", outcome, err)
			}
			if got := fetch(t, r, "x", u.Desc); !bytes.Equal(got, body) {
				t.Errorf("the registry has %d bytes, not those sent", len(got))
			}
			list, taken := methods(r)
			want := strings.Split(strings.TrimSuffix(tt.want, ""), ", ")
			if strings.HasSuffix(tt.want, "cut again") { // each new upload is cut once
				want = want[:len(want)-1]
			}
			if len(list) < len(want) || !slices.Equal(list[:len(want)], want) {
				t.Errorf("asked %v\nwant  %v", list, want)
			}
			if strings.HasSuffix(tt.want, "cut again") {
				return
			}
			if got := fetch(t, r, "x", u.Desc); !bytes.Equal(got, body) {
				t.Errorf("the registry has %d bytes, not those sent", len(got))
			}
			if taken > int64(tt.size)+tt.extra || sent != int64(tt.size) {
				t.Errorf("the registry took %d bytes of %d; last heard of %d", taken, tt.size, sent)
			}
			if outcome, err := c.PutBlob(t.Context(), name(t, r.Host()+"/x"), u, session); err != nil || !outcome.Existed {
				t.Errorf("again: %+v %v", outcome, err)
			}
		})
	}
}

// TestUploadResumes: what an earlier process sent is not sent again, where the registry kept it.
func TestUploadResumes(t *testing.T) {
	for _, forgetful := range []bool{false, true} {
		r := start(t, testkit.Faults{})
		body, u := content(3000)
		c := client(t, Config{})
		base, err := c.writing(name(t, r.Host()+"/x"), user())
		if err != nil {
			t.Fatal(err)
		}
		first := c.newUploader(base, u, nil)
		if err := first.begin(t.Context()); err != nil {
			t.Fatal(err)
		}
		first.Desc.Size = 2000
		if err := first.sendPiece(t.Context()); err != nil {
			t.Fatal(err)
		}
		u.Resume = first.at.String()
		if forgetful {
			u.Resume = strings.Replace(u.Resume, "/uploads/1", "/uploads/no", 1)
		}
		var heard []string
		u.Began = func(location string) { heard = append(heard, location) }
		if _, err := c.PutBlob(t.Context(), name(t, r.Host()+"/x"), u, user()); err != nil {
			t.Fatal(err)
		}
		if got := fetch(t, r, "x", u.Desc); !bytes.Equal(got, body) {
			t.Error("the registry has other bytes than were sent")
		}
		want := int64(3000)
		if forgetful {
			want = 5000
		}
		if _, taken := methods(r); taken != want {
			t.Errorf("forgetful=%v: %d bytes were sent, want %d", forgetful, taken, want)
		}
		if len(heard) == 0 || (heard[0] == u.Resume) == forgetful {
			t.Errorf("began at %v", heard)
		}
	}
}

// TestMount is RG-6: a mount that is refused, whatever the answer, is followed by an upload.
func TestMount(t *testing.T) {
	for _, auth := range []string{"", "bearer"} {
		for _, status := range []int{201, 202, 401, 403} {
			r := start(t, testkit.Faults{Mount: status, Auth: auth, User: "u", Password: "p"})
			body, u := content(500)
			r.Push("a", "1", &testkit.Image{Layers: [][]byte{body}, Config: []byte("{}"), Manifest: []byte("{}")})
			u.From = []string{"a"}
			outcome, err := client(t, Config{}).PutBlob(t.Context(), name(t, r.Host()+"/b"), u, user())
			if err != nil || (outcome.MountedFrom == "a") != (status == 201) {
				t.Errorf("mount %d: %+v %v", status, outcome, err)
			}
			list, taken := methods(r)
			if (taken == 0) != (status == 201) {
				t.Errorf("mount %d: %d bytes were sent: %v", status, taken, list)
			}
			if got := fetch(t, r, "b", u.Desc); !bytes.Equal(got, body) {
				t.Errorf("mount %d: b has %d bytes", status, len(got))
			}
			if auth == "" {
				continue
			}
			scopes := false
			for _, q := range r.Log() {
				scopes = scopes || q.Path == "/token" && slices.Contains(q.Query["scope"], "repository:b:pull,push") && slices.Contains(q.Query["scope"], "repository:a:pull")
			}
			if !scopes {
				t.Error("no token was asked for that allows to mount from a into b")
			}
		}
	}
	r := start(t, testkit.Faults{Auth: "bearer", User: "u", Password: "p", DenyScope: "repository:a"})
	body, u := content(500)
	r.Push("a", "1", &testkit.Image{Layers: [][]byte{body}, Config: []byte("{}"), Manifest: []byte("{}")})
	u.From = []string{"a"}
	if outcome, err := client(t, Config{}).PutBlob(t.Context(), name(t, r.Host()+"/b"), u, user()); err != nil || outcome.MountedFrom != "" {
		t.Errorf("source of the mount denied: %+v %v", outcome, err)
	}
	u.Content = nil
	if outcome, err := client(t, Config{}).PutBlob(t.Context(), name(t, r.Host()+"/b"), u, user()); err != nil || !outcome.Existed {
		t.Errorf("content not here, but there: %+v %v", outcome, err)
	}
	if _, err := client(t, Config{}).PutBlob(t.Context(), name(t, r.Host()+"/c"), u, user()); !errdefs.IsNotFound(err) {
		t.Errorf("content nowhere: %v", err)
	}
}

// TestBodiesWithHead: a registry that sends a body with its answer to HEAD spoils connections, but no push.
func TestBodiesWithHead(t *testing.T) {
	r := start(t, testkit.Faults{})
	front, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer front.Close()
	go func() {
		for {
			conn, err := front.Accept()
			if err != nil {
				return
			}
			go spoil(conn, r.Host())
		}
	}()
	c, session := client(t, Config{}), user()
	var wait sync.WaitGroup
	for i := range 60 {
		wait.Go(func() {
			body := []byte(fmt.Sprint("blob ", i))
			u := Upload{Desc: ocispec.Descriptor{Digest: digest.FromBytes(body), Size: int64(len(body))}, Content: bytes.NewReader(body)}
			if _, err := c.PutBlob(t.Context(), name(t, front.Addr().String()+"/x"), u, session); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
}

// spoil passes requests on one by one; each refusal of a HEAD has a body.
func spoil(conn net.Conn, to string) {
	defer conn.Close()
	in := bufio.NewReader(conn)
	for {
		q, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		q.URL.Scheme, q.URL.Host, q.RequestURI = "http", to, ""
		resp, err := http.DefaultTransport.RoundTrip(q)
		if err != nil {
			return
		}
		resp.Write(conn)
		resp.Body.Close()
		if q.Method == http.MethodHead && resp.StatusCode == 404 {
			time.Sleep(time.Millisecond) // by then the next request is under way
			io.WriteString(conn, `{"errors":[{"code":"BLOB_UNKNOWN"}]}`)
		}
		if q.Close {
			return
		}
	}
}

// TestUploadRefused: what will not go better is not tried again.
func TestUploadRefused(t *testing.T) {
	for status, most := range map[int]int{400: 3, 403: 3, 413: 3} {
		asked := 0
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
			asked++
			io.Copy(io.Discard, q.Body)
			switch q.Method {
			case http.MethodHead:
				w.WriteHeader(404)
			case http.MethodPost:
				w.Header().Set("Location", "/v2/x/blobs/uploads/1")
				w.WriteHeader(202)
			default:
				w.WriteHeader(status)
			}
		}))
		_, u := content(100)
		_, err := client(t, Config{}).PutBlob(t.Context(), name(t, strings.TrimPrefix(s.URL, "http://")+"/x"), u, user())
		if !isRefusal(err, status) || asked > most {
			t.Errorf("%d: %v after %d requests", status, err, asked)
		}
		s.Close()
	}
}

// TestUploadLocations: uploads go where the registry says, but neither from TLS to plain HTTP nor with secrets to others.
func TestUploadLocations(t *testing.T) {
	c := client(t, Config{Insecure: []string{"lax.example"}})
	for _, tt := range []struct{ asked, given, want string }{
		{"https://r.example/v2/x/blobs/uploads/", "/v2/x/blobs/uploads/1?_state=a%3D%3D", "https://r.example/v2/x/blobs/uploads/1?_state=a%3D%3D"},
		{"https://r.example/v2/x/blobs/uploads/", "2", "https://r.example/v2/x/blobs/uploads/2"},
		{"https://r.example/v2/x/blobs/uploads/", "http://r.example/v2/1", "https://r.example/v2/1"},
		{"https://r.example/v2/x/blobs/uploads/", "http://other.example/v2/1", ""},
		{"https://r.example/v2/x/blobs/uploads/", "http://lax.example/v2/1", "http://lax.example/v2/1"},
		{"https://r.example/v2/x/blobs/uploads/", "https://other.example/v2/1", "https://other.example/v2/1"},
		{"https://r.example/v2/x/blobs/uploads/", "ftp://r.example/1", ""},
		{"https://r.example/v2/x/blobs/uploads/", "", ""},
	} {
		q := httptest.NewRequest("POST", tt.asked, nil)
		got, err := c.location(&http.Response{Request: q, Header: http.Header{"Location": {tt.given}}}, request{at: endpoint{host: "r.example"}})
		if tt.want == "" && err == nil || tt.want != "" && (err != nil || got.String() != tt.want) {
			t.Errorf("%q: %v %v", tt.given, got, err)
		}
	}
	r := request{at: endpoint{host: "r.example"}, session: NewSession(Credentials{})}
	for where, want := range map[string]bool{"https://r.example/1": false, "https://r.example:443/1": false, "http://r.example/1": true, "http://r.example:443/1": true, "https://r.example:444/1": true, "https://s.example/1": true} {
		r.to = httptest.NewRequest("PUT", where, nil).URL
		if r.elsewhere() != want {
			t.Errorf("%s elsewhere: %v", where, !want)
		}
	}
}

// TestUploadStall: a registry that takes nothing any more does not hold an upload for ever.
func TestUploadStall(t *testing.T) {
	block := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		switch q.Method {
		case http.MethodHead, http.MethodGet:
			w.WriteHeader(404)
		case http.MethodPost:
			w.Header().Set("Location", "/v2/x/blobs/uploads/1")
			w.WriteHeader(202)
		default:
			<-block
		}
	}))
	defer s.Close()
	defer close(block)
	c := client(t, Config{Idle: 100 * time.Millisecond})
	_, u := content(64 << 20)
	base, err := c.writing(name(t, strings.TrimPrefix(s.URL, "http://")+"/x"), user())
	if err != nil {
		t.Fatal(err)
	}
	up := c.newUploader(base, u, nil)
	began := time.Now()
	if err := up.attempt(t.Context()); !broken(err) || time.Since(began) > 5*time.Second {
		t.Errorf("%v after %s", err, time.Since(began))
	}
}

func TestScopes(t *testing.T) {
	for _, tt := range []struct{ ours, asked, want string }{
		{"repository:x:pull", "", "repository:x:pull"},
		{"repository:x:pull", "repository:x:pull", "repository:x:pull"},
		{"repository:x:pull,push", "repository:x:pull", "repository:x:pull,push"},
		{"repository:x:pull", "repository:x:pull,push", "repository:x:pull,push"},
		{"repository:b:pull,push repository:a:pull", "repository:b:pull,push", "repository:b:pull,push repository:a:pull"},
		{"repository:x:pull", "repository:proxy/x:pull", "repository:proxy/x:pull"},
		{"", "registry:catalog:*", "registry:catalog:*"},
		{"repository:x:pull", "odd", "odd"},
	} {
		if got := mergeScopes(tt.ours, tt.asked); got != tt.want {
			t.Errorf("%q and %q: %q", tt.ours, tt.asked, got)
		}
	}
}

// TestTokensRunOut: a body is not sent with a token that is known to have run out.
func TestTokensRunOut(t *testing.T) {
	r := start(t, testkit.Faults{Auth: "bearer", User: "u", Password: "p"})
	session := user()
	_, u := content(100)
	c := client(t, Config{})
	if _, err := c.PutBlob(t.Context(), name(t, r.Host()+"/x"), u, session); err != nil {
		t.Fatal(err)
	}
	for key, tok := range session.tokens {
		tok.until = time.Now().Add(-time.Second)
		session.tokens[key] = tok
	}
	before := len(r.Log())
	if err := c.PutManifest(t.Context(), name(t, r.Host()+"/x:1"), ocispec.MediaTypeImageManifest, []byte("{}"), session); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, q := range r.Log()[before:] {
		got = append(got, fmt.Sprintf("%s %d", q.Path, q.Status))
	}
	if want := "/token 200, /v2/x/manifests/1 201"; strings.Join(got, ", ") != want {
		t.Errorf("%v, want %s", got, want)
	}
}

// TestManifests: documents go out again after a failure of the registry, and can be asked for and removed.
func TestManifests(t *testing.T) {
	r := start(t, testkit.Faults{FailManifests: 2})
	c := client(t, Config{})
	n := name(t, r.Host()+"/x:1")
	if _, err := c.StatManifest(t.Context(), n, user()); !errdefs.IsNotFound(err) {
		t.Errorf("absent manifest: %v", err)
	}
	if err := c.PutManifest(t.Context(), n, ocispec.MediaTypeImageManifest, []byte("{}"), user()); err != nil {
		t.Fatal(err)
	}
	desc, err := c.StatManifest(t.Context(), n, user())
	if err != nil || desc.Digest != digest.FromString("{}") || desc.Size != 2 || desc.MediaType != ocispec.MediaTypeImageManifest {
		t.Errorf("%+v %v", desc, err)
	}
}

// lists answers like a registry with lists of two entries a page.
func lists(t *testing.T, referrers bool) (*httptest.Server, *[]string) {
	asked := &[]string{}
	index := func(types ...string) string {
		var entries []string
		for i, a := range types {
			entries = append(entries, fmt.Sprintf(`{"mediaType":%q,"artifactType":%q,"size":1,"digest":"sha256:%064d"}`, ocispec.MediaTypeImageManifest, a, i))
		}
		return `{"schemaVersion":2,"mediaType":"` + ocispec.MediaTypeImageIndex + `","manifests":[` + strings.Join(entries, ",") + `]}`
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		*asked = append(*asked, q.Method+" "+q.URL.String())
		switch {
		case q.Method == http.MethodDelete:
			w.WriteHeader(202)
		case q.URL.Path == "/v2/_catalog" && q.URL.Query().Get("last") == "":
			w.Header().Set("Link", `</v2/_catalog?last=b&n=2>; rel="next"`)
			io.WriteString(w, `{"repositories":["a","b"]}`)
		case q.URL.Path == "/v2/_catalog":
			io.WriteString(w, `{"repositories":["c"]}`)
		case strings.HasPrefix(q.URL.Path, "/v2/x/referrers/") && referrers && q.URL.Query().Get("page") == "":
			w.Header().Set("Link", `<`+q.URL.Path+`?page=2>; rel="next"`)
			io.WriteString(w, index("t/1", "t/2"))
		case strings.HasPrefix(q.URL.Path, "/v2/x/referrers/") && referrers:
			io.WriteString(w, index("t/1"))
		case strings.HasPrefix(q.URL.Path, "/v2/x/manifests/sha256-"):
			w.Header().Set("Content-Type", ocispec.MediaTypeImageIndex)
			io.WriteString(w, index("t/1", "t/2", "t/1"))
		default:
			w.WriteHeader(404)
		}
	}))
	t.Cleanup(s.Close)
	return s, asked
}

// TestAsk: a registry's own calls are made with whatever rights it asks for.
func TestAsk(t *testing.T) {
	r := start(t, testkit.Faults{Auth: "bearer", User: "u", Password: "p"})
	_, u := content(77)
	c := client(t, Config{})
	if _, err := c.PutBlob(t.Context(), name(t, r.Host()+"/x"), u, user()); err != nil {
		t.Fatal(err)
	}
	if n, err := c.StatBlob(t.Context(), name(t, r.Host()+"/x"), u.Desc.Digest, user()); n != 77 || err != nil {
		t.Errorf("blob of 77 bytes: %d, %v", n, err)
	}
	resp, err := c.Ask(t.Context(), r.Host(), http.MethodGet, "x/tags/list?n=5", user())
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	last := r.Log()[len(r.Log())-1]
	if last.Path != "/v2/x/tags/list" || last.Query.Get("n") != "5" || last.Authorization != "Bearer" {
		t.Errorf("asked %+v", last)
	}
	if _, err := c.Ask(t.Context(), r.Host(), http.MethodGet, "no/manifests/1", user()); !errdefs.IsNotFound(err) {
		t.Errorf("what is not there: %v", err)
	}
}

func TestListsAndDeletes(t *testing.T) {
	c := client(t, Config{})
	for _, knows := range []bool{true, false} {
		s, _ := lists(t, knows)
		n := name(t, strings.TrimPrefix(s.URL, "http://")+"/x").WithDigest(digest.FromString("subject"))
		for artifactType, want := range map[string]int{"": 3, "t/1": 2, "t/3": 0} {
			if got, err := c.Referrers(t.Context(), n, artifactType, user()); err != nil || len(got) != want {
				t.Errorf("referrers of type %q, known to the registry %v: %d, %v", artifactType, knows, len(got), err)
			}
		}
	}
	s, asked := lists(t, true)
	host := strings.TrimPrefix(s.URL, "http://")
	if got, err := c.Catalog(t.Context(), host, user()); err != nil || strings.Join(got, " ") != "a b c" {
		t.Errorf("catalog %v %v", got, err)
	}
	*asked = nil
	n := name(t, host+"/x:1")
	d := digest.FromString("m")
	if err := c.DeleteManifest(t.Context(), n, user()); err != nil {
		t.Error(err)
	}
	if err := c.DeleteManifest(t.Context(), n.WithDigest(d), user()); err != nil {
		t.Error(err)
	}
	if err := c.DeleteBlob(t.Context(), n, d, user()); err != nil {
		t.Error(err)
	}
	want := []string{"DELETE /v2/x/manifests/1", "DELETE /v2/x/manifests/" + d.String(), "DELETE /v2/x/blobs/" + d.String()}
	if !slices.Equal(*asked, want) {
		t.Errorf("asked %v", *asked)
	}
}
