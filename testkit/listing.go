package testkit

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// serveTags lists tags two at a time, so that clients must follow the links.
func (r *Registry) serveTags(w http.ResponseWriter, req *http.Request, repository string) {
	const page = 2
	r.mu.Lock()
	var tags []string
	for key := range r.manifests {
		if of, tag, _ := strings.Cut(key, " "); of == repository && !strings.Contains(tag, ":") && tag > req.URL.Query().Get("last") {
			tags = append(tags, tag)
		}
	}
	r.mu.Unlock()
	slices.Sort(tags)
	if len(tags) > page {
		tags = tags[:page]
		w.Header().Set("Link", fmt.Sprintf(`</v2/%s/tags/list?last=%s&n=%d>; rel="next"`, repository, tags[page-1], page))
	}
	body, _ := json.Marshal(map[string]any{"name": repository, "tags": tags})
	r.answer(w, req, 200, body)
}

// serveCatalog lists all repositories.
func (r *Registry) serveCatalog(w http.ResponseWriter, req *http.Request) {
	if r.Faults.NoCatalog {
		r.fail(w, req, 404, "UNSUPPORTED")
		return
	}
	if !r.allowed(w, req, "") {
		return
	}
	seen := map[string]bool{}
	r.mu.Lock()
	for key := range r.manifests {
		repository, _, _ := strings.Cut(key, " ")
		seen[repository] = true
	}
	r.mu.Unlock()
	body, _ := json.Marshal(map[string]any{"repositories": slices.Sorted(maps.Keys(seen))})
	r.answer(w, req, 200, body)
}
