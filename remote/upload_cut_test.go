package remote

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// TestEveryTryGetsFurther: on a way that breaks again and again, an upload goes on as long as each try brings something.
func TestEveryTryGetsFurther(t *testing.T) {
	var mu sync.Mutex
	var have []byte
	const portion = 300
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		w.Header().Set("Location", "/v2/x/blobs/uploads/1")
		switch q.Method {
		case http.MethodHead:
			w.WriteHeader(404)
		case http.MethodPost:
			w.WriteHeader(202)
		case http.MethodGet:
			w.Header().Set("Range", fmt.Sprintf("0-%d", max(0, len(have)-1)))
			w.WriteHeader(204)
		default:
			some, err := io.ReadAll(io.LimitReader(q.Body, portion))
			have = append(have, some...)
			if err != nil || int64(len(some)) < q.ContentLength {
				panic(http.ErrAbortHandler)
			}
			w.Header().Set("Range", fmt.Sprintf("0-%d", len(have)-1))
			w.WriteHeader(map[string]int{http.MethodPatch: 202, http.MethodPut: 201}[q.Method])
		}
	}))
	defer s.Close()
	body, u := content((uploadTries + 2) * portion)
	if _, err := client(t, Config{}).PutBlob(t.Context(), name(t, strings.TrimPrefix(s.URL, "http://")+"/x"), u, user()); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if !bytes.Equal(have, body) {
		t.Errorf("the registry has %d bytes of %d, or others", len(have), len(body))
	}
}
