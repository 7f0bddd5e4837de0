package remote

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
)

// TestMountLeavesNothing: an upload that a registry begins where it cannot mount is given up when another source is tried.
func TestMountLeavesNothing(t *testing.T) {
	var mu sync.Mutex
	var asked []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		from := q.URL.Query().Get("from")
		asked = append(asked, strings.TrimSpace(q.Method+" "+q.URL.Path[strings.LastIndexByte(q.URL.Path, '/')+1:]+from))
		switch {
		case q.Method == http.MethodHead:
			w.WriteHeader(404)
		case q.Method == http.MethodDelete:
			w.WriteHeader(204)
		case from == "has":
			w.WriteHeader(201)
		default:
			w.Header().Set("Location", "/v2/x/blobs/uploads/"+strings.ToUpper(from))
			w.WriteHeader(202)
		}
	}))
	defer s.Close()
	_, u := content(100)
	u.From = []string{"a", "b", "has"}
	outcome, err := client(t, Config{}).PutBlob(t.Context(), name(t, strings.TrimPrefix(s.URL, "http://")+"/x"), u, user())
	if err != nil || outcome.MountedFrom != "has" {
		t.Errorf("%+v, %v", outcome, err)
	}
	mu.Lock()
	defer mu.Unlock()
	if want := []string{"POST a", "POST b", "DELETE A", "POST has", "DELETE B"}; !slices.Equal(asked[1:], want) {
		t.Errorf("asked %v, want %v", asked[1:], want)
	}
}
