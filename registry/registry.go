// Package registry is the door for those who push and pull: the OCI distribution specification over HTTP, on the
// repositories of package repository. Beside it, below /v2/_cove/, are calls of our own for who looks after the registry,
// and /healthz and /metrics.
package registry

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cove-containers/cove/repository"
)

// Actions are what Access is asked for.
const (
	Pull    = "pull"
	Push    = "push"
	Delete  = "delete"
	Catalog = "catalog" // to list all repositories; the repository is ""
	Admin   = "admin"   // the calls below /v2/_cove/; the repository is ""
)

// Access decides who may do what. Without actions it is asked whether the request comes from anybody at all (repo is "" then): what
// a client tries when it logs in. errdefs.ErrUnauthenticated asks for credentials: the error's method
// Challenge() string, if it has one, is the header WWW-Authenticate. errdefs.ErrPermissionDenied refuses for good.
type Access interface {
	Authorize(r *http.Request, repo string, actions ...string) error
}

// Content is what is pulled: a *repository.Store, or something that fetches what is not there yet.
type Content interface {
	Manifests
	Blobs
	Lists
}

// Manifests are the documents of a Content.
type Manifests interface {
	Manifest(ctx context.Context, name, reference string) (repository.Manifest, error)
	ReadManifest(ctx context.Context, name string, m repository.Manifest) ([]byte, error)
}

// Blobs are the bytes of a Content.
type Blobs interface {
	StatBlob(ctx context.Context, name string, d digest.Digest) (int64, error)
	OpenBlob(ctx context.Context, name string, d digest.Digest, offset int64) (io.ReadCloser, int64, error)
}

// Lists tell what there is in a repository of a Content.
type Lists interface {
	Tags(ctx context.Context, name, behind string, n int) (tags []string, more bool, err error)
	Referrers(ctx context.Context, name string, d digest.Digest, kind, last string, limit int) (list []ocispec.Descriptor, more bool, err error)
}

// Parts are what a registry is made of.
type Parts struct {
	Store    *repository.Store
	Content  Content // nil: Store
	Access   Access  // nil: everybody may do everything
	ReadOnly bool    // pushes and deletions are refused
	Log      *slog.Logger
}

// Registry serves the API.
type Registry struct {
	store    *repository.Store
	content  Content
	access   Access
	readOnly bool
	log      *slog.Logger
	metrics  *metrics
}

// New puts the parts together.
func New(p Parts) *Registry {
	g := &Registry{store: p.Store, content: p.Content, access: p.Access, readOnly: p.ReadOnly, log: p.Log, metrics: newMetrics()}
	if g.content == nil {
		g.content = p.Store
	}
	if g.log == nil {
		g.log = slog.New(slog.DiscardHandler)
	}
	return g
}

// call is one request on its way through.
type call struct {
	*Registry
	w    *counted
	r    *http.Request
	name string // the repository, "" where there is none
	arg  string // digest, reference or upload
}

// route is a row of the protocol. A row without rights asks only for being known.
type route struct {
	method string
	rights []string
	writes bool
	serve  func(*call) error
}

// kinds are the resources of the protocol, with what may be done to each.
var kinds = map[string][]route{
	"base":      {{"GET", nil, false, (*call).base}},
	"_catalog":  {{"GET", []string{Catalog}, false, (*call).catalog}},
	"gc":        {{"POST", []string{Admin}, false, (*call).collect}},
	"du":        {{"GET", []string{Admin}, false, (*call).usage}},
	"tags":      {{"GET", []string{Pull}, false, (*call).tags}},
	"referrers": {{"GET", []string{Pull}, false, (*call).referrers}},
	"manifests": {
		{"GET", []string{Pull}, false, (*call).getManifest},
		{"PUT", []string{Pull, Push}, true, (*call).putManifest},
		{"DELETE", []string{Delete}, true, (*call).deleteManifest},
	},
	"blobs": {
		{"GET", []string{Pull}, false, (*call).getBlob},
		{"DELETE", []string{Delete}, true, (*call).deleteBlob},
	},
	"uploads": {{"POST", []string{Pull, Push}, true, (*call).startUpload}},
	"upload": {
		{"GET", []string{Pull, Push}, false, (*call).uploadStatus},
		{"PATCH", []string{Pull, Push}, true, (*call).patchUpload},
		{"PUT", []string{Pull, Push}, true, (*call).putUpload},
		{"DELETE", []string{Pull, Push}, true, (*call).cancelUpload},
	},
}

// wide are the kinds that belong to the registry as a whole, not to a repository.
var wide = []string{"base", "_catalog", "gc", "du"}

// locate reads a path: what kind of resource it names, whose, and which.
func locate(path string) (kind, name, arg string) {
	rest, ok := strings.CutPrefix(path, "/v2/")
	if !ok {
		if path == "/v2" {
			return "base", "", ""
		}
		return "", "", ""
	}
	switch rest {
	case "":
		return "base", "", ""
	case "_catalog", "_cove/gc", "_cove/du":
		return strings.TrimPrefix(rest, "_cove/"), "", ""
	}
	parts := strings.Split(rest, "/")
	n := len(parts)
	switch {
	case n >= 4 && parts[n-3] == "blobs" && parts[n-2] == "uploads":
		if parts[n-1] == "" {
			return "uploads", strings.Join(parts[:n-3], "/"), ""
		}
		return "upload", strings.Join(parts[:n-3], "/"), parts[n-1]
	case n >= 3 && parts[n-2] == "blobs" && parts[n-1] == "uploads":
		return "uploads", strings.Join(parts[:n-2], "/"), ""
	case n >= 3 && parts[n-2] == "tags" && parts[n-1] == "list":
		return "tags", strings.Join(parts[:n-2], "/"), ""
	case n >= 3 && slices.Contains([]string{"manifests", "blobs", "referrers"}, parts[n-2]):
		return parts[n-2], strings.Join(parts[:n-2], "/"), parts[n-1]
	}
	return "", "", ""
}

// ServeHTTP serves one call.
func (g *Registry) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/metrics":
		g.metrics.serve(w, r)
		return
	case "/healthz", "/":
		g.health(w, r)
		return
	}
	kind, name, arg := locate(r.URL.Path)
	m := g.metrics.begin(w, r, kind)
	defer m.end()
	c := &call{Registry: g, w: m, r: r, name: name, arg: arg}
	w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
	err := c.serve(kind)
	if err != nil {
		c.fail(err)
	}
	if g.log.Enabled(r.Context(), slog.LevelDebug) {
		g.log.Debug("registry", "method", r.Method, "path", r.URL.Path, "status", max(m.status, http.StatusOK), "from", r.RemoteAddr, "took", time.Since(m.began), "error", err)
	}
}

func (c *call) serve(kind string) error {
	rows, ok := kinds[kind]
	if !ok {
		return errNoSuchCall
	}
	method := c.r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	var allowed []string
	for _, row := range rows {
		if row.method != method {
			allowed = append(allowed, row.method)
			continue
		}
		if !slices.Contains(wide, kind) {
			if err := repository.CheckName(c.name); err != nil {
				return err
			}
		}
		if c.access != nil {
			if err := c.access.Authorize(c.r, c.name, row.rights...); err != nil {
				return err
			}
		}
		if row.writes && c.readOnly {
			return errReadOnly
		}
		return row.serve(c)
	}
	c.w.Header().Set("Allow", strings.Join(allowed, ", "))
	return errNotAllowed
}

func (c *call) base() error {
	c.w.Header().Set("Content-Type", "application/json")
	_, err := io.WriteString(c.w, "{}")
	return err
}

func (g *Registry) health(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 10*time.Second)
	defer cancel()
	if err := g.store.Healthy(ctx); err != nil {
		g.log.Error("the storage does not answer", "error", err)
		http.Error(w, "the storage does not answer", http.StatusServiceUnavailable)
		return
	}
	io.WriteString(w, "ok\n")
}
