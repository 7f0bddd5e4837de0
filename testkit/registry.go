package testkit

import (
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
)

// Faults tells a Registry how to misbehave, and whom to let in. The zero value is a well-behaved open registry.
type Faults struct {
	// Auth is "", "basic" or "bearer"; User and Password are the only account. Anonymous lets the token service
	// answer without one. TokenField is the name the token goes by, "token" or "access_token".
	Auth, User, Password, TokenField string
	Anonymous                        bool
	// RealmQuery puts a query string of its own into the realm's URL.
	RealmQuery bool
	// RedirectBlobs sends blob readers to another listener, which refuses a request that carries Authorization.
	RedirectBlobs bool
	// CutAfter breaks the first download of each blob after so many bytes; NoRange answers a range request in full.
	CutAfter int
	NoRange  bool
	// RefuseManifests answers so many manifest requests with 429 and RetryAfter.
	RefuseManifests int
	RetryAfter      string
	// NoDigest leaves Docker-Content-Digest away and refuses HEAD.
	NoDigest bool
	// Rate is the speed of blob bodies in bytes a second; 0 is unbounded.
	Rate int
	// Stall keeps blob bodies open after CutAfter bytes instead of breaking them.
	Stall bool
	// HTML answers everything with a page, as a captive portal does.
	HTML bool
	// Swap answers the blob or manifest digest with these bytes instead.
	Swap map[digest.Digest][]byte

	// Mount is the answer to a mount from another repository: 201 (or 0) when the blob is there, else 202, 401, 403.
	Mount int
	// RelativeLocation makes the Location of uploads relative, with a query of its own.
	RelativeLocation bool
	// UploadElsewhere sends uploads to another listener, which refuses a request that carries Authorization.
	UploadElsewhere bool
	// CutUpload breaks the first upload of each repository after so many bytes; Forgetful loses what had come.
	CutUpload int
	Forgetful bool
	// RefusePieces answers PATCH with 405. MaxBody refuses larger bodies with 413.
	RefusePieces bool
	MaxBody      int64
	// RefuseUploads answers so many uploads with 429 and RetryAfter, FailManifests so many manifest uploads with 500.
	RefuseUploads, FailManifests int
	// Search is the answer to every search; without one there is no such call. NoCatalog refuses to list repositories.
	Search    []byte
	NoCatalog bool
	// DenyScope has the token service refuse whoever asks for this.
	DenyScope string
}

// Request is one line of a Registry's log.
type Request struct {
	Port          int
	Method, Path  string
	Query         url.Values
	RawQuery      string
	Status        int
	Authorization string // the scheme only: "", "Basic" or "Bearer"
	Range         string
	// Bytes is how much of the request's body was read.
	Bytes int64
}

// Registry is an in-memory registry on loopback. It is safe for concurrent use.
type Registry struct {
	Faults    Faults
	mu        sync.Mutex
	blobs     map[digest.Digest][]byte
	links     map[string]bool // "repository digest": where a blob may be seen; "" is everywhere
	uploads   map[string]*upload
	manifests map[string]stored // "repository reference"
	log       []Request
	cut       map[digest.Digest]bool
	servers   []*http.Server
	host      string
	storage   string
	stop      chan struct{}
	closing   sync.Once
}

type stored struct {
	media string
	body  []byte
}

const goodToken = "T0ken"

// NewRegistry starts a registry at addr ("127.0.0.1:0" for any port); with certificate it speaks TLS.
func NewRegistry(addr string, faults Faults, certificate *tls.Certificate) (*Registry, error) {
	r := &Registry{Faults: faults, blobs: map[digest.Digest][]byte{}, links: map[string]bool{}, uploads: map[string]*upload{}, manifests: map[string]stored{}, cut: map[digest.Digest]bool{}, stop: make(chan struct{})}
	main, err := r.serve(addr, certificate, r.handle)
	if err != nil {
		return nil, err
	}
	r.host = main
	if faults.RedirectBlobs || faults.UploadElsewhere {
		if r.storage, err = r.serve("127.0.0.2:0", nil, r.serveStorage); err != nil {
			r.Close()
			return nil, err
		}
	}
	return r, nil
}

func (r *Registry) serve(addr string, certificate *tls.Certificate, handler http.HandlerFunc) (string, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return "", err
	}
	bound := l.Addr().String()
	if certificate != nil {
		l = tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{*certificate}})
	}
	s := &http.Server{Handler: handler}
	r.servers = append(r.servers, s)
	go s.Serve(l)
	return bound, nil
}

// Close ends all listeners and connections; to close it again does nothing.
func (r *Registry) Close() {
	r.closing.Do(func() {
		close(r.stop)
		for _, s := range r.servers {
			s.Close()
		}
	})
}

// Host is the registry's address, HOST:PORT.
func (r *Registry) Host() string { return r.host }

// Log returns the requests answered so far.
func (r *Registry) Log() []Request {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Request(nil), r.log...)
}

// Push stores an image under repository and tag, past all faults.
func (r *Registry) Push(repository, tag string, im *Image) digest.Digest {
	for _, b := range append([][]byte{im.Config}, im.Layers...) {
		r.keep(repository, b)
	}
	return r.PutManifest(repository, tag, im.MediaType, im.Manifest)
}

// PutBlob stores a blob for all repositories.
func (r *Registry) PutBlob(b []byte) digest.Digest { return r.keep("", b) }

func (r *Registry) keep(repository string, b []byte) digest.Digest {
	r.mu.Lock()
	defer r.mu.Unlock()
	d := digest.FromBytes(b)
	r.blobs[d] = b
	r.links[repository+" "+d.String()] = true
	return d
}

// linked tells whether the blob can be seen in repository. Callers hold r.mu.
func (r *Registry) linked(repository string, d digest.Digest) bool {
	return r.links[" "+d.String()] || r.links[repository+" "+d.String()]
}

// Manifest returns the document of a repository that was stored under a tag or digest, nil when there is none.
func (r *Registry) Manifest(repository, reference string) []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.manifests[repository+" "+reference].body
}

// Forget removes a blob from all repositories.
func (r *Registry) Forget(d digest.Digest) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.blobs, d)
}

// PutManifest stores a document as it is, however wrong, by tag and by digest.
func (r *Registry) PutManifest(repository, tag, media string, body []byte) digest.Digest {
	r.mu.Lock()
	defer r.mu.Unlock()
	d := digest.FromBytes(body)
	r.manifests[repository+" "+tag] = stored{media, body}
	r.manifests[repository+" "+d.String()] = stored{media, body}
	return d
}

func (r *Registry) record(req *http.Request, status int) { r.recordBody(req, status, 0) }

func (r *Registry) recordBody(req *http.Request, status int, bytes int64) {
	scheme, _, _ := strings.Cut(req.Header.Get("Authorization"), " ")
	_, port, _ := net.SplitHostPort(req.Context().Value(http.LocalAddrContextKey).(net.Addr).String())
	n, _ := strconv.Atoi(port)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.log = append(r.log, Request{n, req.Method, req.URL.Path, req.URL.Query(), req.URL.RawQuery, status, scheme, req.Header.Get("Range"), bytes})
}

func (r *Registry) answer(w http.ResponseWriter, req *http.Request, status int, body []byte) {
	r.record(req, status)
	if w.Header().Get("Content-Length") == "" {
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	}
	w.WriteHeader(status)
	if req.Method != http.MethodHead {
		w.Write(body)
	}
}

func (r *Registry) fail(w http.ResponseWriter, req *http.Request, status int, code string) {
	w.Header().Set("Content-Type", "application/json")
	body, _ := json.Marshal(map[string]any{"errors": []any{map[string]string{"code": code, "message": strings.ToLower(code)}}})
	r.answer(w, req, status, body)
}

func (r *Registry) handle(w http.ResponseWriter, req *http.Request) {
	if r.Faults.HTML {
		w.Header().Set("Content-Type", "text/html")
		r.answer(w, req, 200, []byte("<html><body>Please log in to the airport's network</body></html>"))
		return
	}
	if req.URL.Path == "/token" {
		r.token(w, req)
		return
	}
	if req.URL.Path == "/v1/search" && r.Faults.Search != nil {
		r.answer(w, req, 200, r.Faults.Search)
		return
	}
	rest, ok := strings.CutPrefix(req.URL.Path, "/v2/")
	if !ok {
		r.fail(w, req, 404, "UNSUPPORTED")
		return
	}
	for _, kind := range []string{"/manifests/", "/blobs/"} {
		if repository, arg, ok := strings.Cut(rest, kind); ok {
			if !r.allowed(w, req, repository) {
				return
			}
			switch {
			case strings.HasPrefix(arg, "uploads/"):
				r.serveUpload(w, req, repository, strings.TrimPrefix(arg, "uploads/"))
			case kind == "/blobs/":
				r.serveBlob(w, req, repository, digest.Digest(arg))
			case req.Method == http.MethodPut:
				r.takeManifest(w, req, repository, arg)
			default:
				r.serveManifest(w, req, repository, arg)
			}
			return
		}
	}
	if rest == "_catalog" {
		r.serveCatalog(w, req)
		return
	}
	if repository, ok := strings.CutSuffix(rest, "/tags/list"); ok {
		if r.allowed(w, req, repository) {
			r.serveTags(w, req, repository)
		}
		return
	}
	if r.allowed(w, req, "") {
		r.answer(w, req, 200, []byte("{}"))
	}
}

func (r *Registry) basic() string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(r.Faults.User+":"+r.Faults.Password))
}

func (r *Registry) token(w http.ResponseWriter, req *http.Request) {
	given := req.Header.Get("Authorization")
	if given != r.basic() && (given != "" || !r.Faults.Anonymous) {
		r.fail(w, req, 401, "UNAUTHORIZED")
		return
	}
	if deny := r.Faults.DenyScope; deny != "" && strings.Contains(strings.Join(req.URL.Query()["scope"], " "), deny) {
		r.fail(w, req, 403, "DENIED")
		return
	}
	field := r.Faults.TokenField
	if field == "" {
		field = "token"
	}
	body, _ := json.Marshal(map[string]string{field: goodToken})
	w.Header().Set("Content-Type", "application/json")
	r.answer(w, req, 200, body)
}

func (r *Registry) allowed(w http.ResponseWriter, req *http.Request, repository string) bool {
	given := req.Header.Get("Authorization")
	switch r.Faults.Auth {
	case "":
		return true
	case "basic":
		if given == r.basic() {
			return true
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="fake"`)
	case "bearer":
		if given == "Bearer "+goodToken {
			return true
		}
		scheme, query := "http", ""
		if req.TLS != nil {
			scheme = "https"
		}
		if r.Faults.RealmQuery {
			query = "?acct=1,2&x=y"
		}
		challenge := fmt.Sprintf(`Bearer realm="%s://%s/token%s",service="fake reg, v1"`, scheme, req.Host, query)
		if repository != "" {
			action := "pull"
			if req.Method != http.MethodGet && req.Method != http.MethodHead {
				action = "pull,push"
			}
			challenge += fmt.Sprintf(`,scope="repository:%s:%s"`, repository, action)
		}
		w.Header().Set("WWW-Authenticate", challenge)
	}
	r.fail(w, req, 401, "UNAUTHORIZED")
	return false
}

func (r *Registry) serveManifest(w http.ResponseWriter, req *http.Request, repository, reference string) {
	r.mu.Lock()
	refuse := r.Faults.RefuseManifests > 0
	if refuse {
		r.Faults.RefuseManifests--
	}
	m, found := r.manifests[repository+" "+reference]
	if swapped, ok := r.Faults.Swap[digest.Digest(reference)]; ok {
		m.body = swapped
	}
	r.mu.Unlock()
	switch {
	case refuse:
		w.Header().Set("Retry-After", r.Faults.RetryAfter)
		r.fail(w, req, 429, "TOOMANYREQUESTS")
	case !found:
		r.fail(w, req, 404, "MANIFEST_UNKNOWN")
	case r.Faults.NoDigest && req.Method == http.MethodHead:
		r.fail(w, req, 405, "UNSUPPORTED")
	default:
		w.Header().Set("Content-Type", m.media)
		if !r.Faults.NoDigest {
			w.Header().Set("Docker-Content-Digest", digest.FromBytes(m.body).String())
		}
		r.answer(w, req, 200, m.body)
	}
}

func (r *Registry) serveBlob(w http.ResponseWriter, req *http.Request, repository string, d digest.Digest) {
	r.mu.Lock()
	body, found := r.blobs[d]
	found = found && r.linked(repository, d)
	if swapped, ok := r.Faults.Swap[d]; ok {
		body = swapped
	}
	first := !r.cut[d]
	breaks := r.Faults.CutAfter > 0 && first && len(body) > r.Faults.CutAfter && req.Method == http.MethodGet
	if breaks {
		r.cut[d] = true
	}
	r.mu.Unlock()
	if !found {
		r.fail(w, req, 404, "BLOB_UNKNOWN")
		return
	}
	if r.Faults.RedirectBlobs && req.Method == http.MethodGet {
		w.Header().Set("Location", "http://"+r.storage+"/blob/"+d.String())
		r.answer(w, req, 307, nil)
		return
	}
	w.Header().Set("Docker-Content-Digest", d.String())
	w.Header().Set("Content-Type", "application/octet-stream")
	status := 200
	var from, to int
	if n, _ := fmt.Sscanf(req.Header.Get("Range"), "bytes=%d-%d", &from, &to); n > 0 && !r.Faults.NoRange {
		if from >= len(body) {
			r.fail(w, req, 416, "RANGE")
			return
		}
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(body)-1, len(body)))
		body, status = body[from:], 206
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	r.record(req, status)
	w.WriteHeader(status)
	if req.Method == http.MethodHead {
		return
	}
	if breaks {
		body = body[:r.Faults.CutAfter]
	}
	r.send(w, req, body)
	if breaks && r.Faults.Stall {
		select {
		case <-req.Context().Done():
		case <-r.stop:
		}
	}
	if breaks {
		panic(http.ErrAbortHandler)
	}
}

// send writes body at the configured rate, a tenth of a second at a time.
func (r *Registry) send(w io.Writer, req *http.Request, body []byte) {
	step := len(body)
	if r.Faults.Rate > 0 {
		step = max(1, r.Faults.Rate/10)
	}
	for len(body) > 0 {
		n := min(step, len(body))
		if _, err := w.Write(body[:n]); err != nil {
			return
		}
		if f, ok := w.(http.Flusher); ok {
			f.Flush()
		}
		body = body[n:]
		if r.Faults.Rate > 0 {
			select {
			case <-req.Context().Done():
				return
			case <-time.After(100 * time.Millisecond):
			}
		}
	}
}

// serveStorage is the blob storage a redirect leads to: like an object store, it takes one way of signing only.
func (r *Registry) serveStorage(w http.ResponseWriter, req *http.Request) {
	if req.Header.Get("Authorization") != "" {
		r.fail(w, req, 400, "DENIED")
		return
	}
	if id, ok := strings.CutPrefix(req.URL.Path, "/upload/"); ok {
		repository, id, _ := strings.Cut(id, "@")
		r.serveUpload(w, req, repository, id)
		return
	}
	d := digest.Digest(strings.TrimPrefix(req.URL.Path, "/blob/"))
	r.mu.Lock()
	body, found := r.blobs[d]
	r.mu.Unlock()
	if !found {
		r.fail(w, req, 404, "BLOB_UNKNOWN")
		return
	}
	r.answer(w, req, 200, body)
}
