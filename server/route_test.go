package server

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/common"
)

func TestFindRoute(t *testing.T) {
	routes := New(Parts{}).routes
	for _, test := range []struct {
		method, path, pattern string
		values                []string
	}{
		{"GET", "/containers/json", "GET /containers/json", nil},
		{"GET", "/containers/json/json", "GET /containers/{id}/json", []string{"json"}},
		{"GET", "/containers/a/attach/ws", "GET /containers/{id}/attach/ws", []string{"a"}},
		{"DELETE", "/containers/a", "DELETE /containers/{id}", []string{"a"}},
		{"GET", "/images/r:5000/a/b:1/json", "GET /images/{name}/json", []string{"r:5000/a/b:1"}},
		{"GET", "/images/json/json", "GET /images/{name}/json", []string{"json"}},
		{"DELETE", "/images/a/b@sha256:00", "DELETE /images/{name}", []string{"a/b@sha256:00"}},
		{"DELETE", "/images/", "DELETE /images/{name}", []string{""}},
		{"GET", "/images/a/get/get", "GET /images/{name}/get", []string{"a/get"}},
		{"POST", "/images/json/push", "POST /images/{name}/push", []string{"json"}},
		{"GET", "/networks/", "GET /networks/{id}", []string{""}},
		{"DELETE", "/containers/a/checkpoints/b", "DELETE /containers/{id}/checkpoints/{checkpoint}", []string{"a", "b"}},
		{"GET", "/distribution/a/b/json", "GET /distribution/{name}/json", []string{"a/b"}},
		{"GET", "/", "", nil},
		{"GET", "/containers", "", nil},
		{"PATCH", "/containers/json", "", nil},
		{"GET", "/containers/a/start", "", nil},
		{"GET", "/images/", "", nil},
	} {
		row, values := routes.find(test.method, test.path)
		pattern := ""
		if row != nil {
			pattern = row.Pattern
		}
		if pattern != test.pattern || !slices.Equal(values, test.values) {
			t.Errorf("%s %s: %q %q, want %q %q", test.method, test.path, pattern, values, test.pattern, test.values)
		}
	}
}

// TestEveryRouteIsReached catches a row that another one hides.
func TestEveryRouteIsReached(t *testing.T) {
	s := New(Parts{})
	for _, row := range s.rows() {
		method, path, _ := strings.Cut(row.Pattern, " ")
		for strings.Contains(path, "{") {
			before, rest, _ := strings.Cut(path, "{")
			_, after, _ := strings.Cut(rest, "}")
			path = before + "x1" + after
		}
		if found, _ := s.routes.find(method, path); found == nil || found.Pattern != row.Pattern {
			t.Errorf("%s %s does not lead to %q", method, path, row.Pattern)
		}
	}
}

func TestIncompleteRoutesAreRefused(t *testing.T) {
	answer := func(*call) error { return nil }
	for _, rows := range [][]route{
		{{"GET /a", 0, answer}},
		{{"GET /a", Observe, nil}},
		{{"/a", Observe, answer}},
		{{"GET /a", Observe, answer}, {"GET /a", Observe, answer}},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%v was taken", rows[0].Pattern)
				}
			}()
			compile(rows)
		}()
	}
}

func TestAnswersOfWhatIsAbsent(t *testing.T) {
	swarm := `This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again.`
	for _, test := range []struct {
		request string
		status  int
		message string
	}{
		{"GET /nope", 404, "page not found"},
		{"GET /v1.40/nope", 404, "page not found"},
		{"GET /v1.99/nope", 404, "page not found"},
		{"POST /containers/json", 404, "page not found"},
		{"GET /swarm", 503, swarm},
		{"GET /v1.30/services", 503, swarm},
		{"POST /v1.30/secrets/create", 503, swarm},
		{"POST /swarm/leave", 503, "This node is not part of a swarm"},
		{"POST /grpc", 400, "no upgrade proto in request"},
		{"POST /build/cancel", 400, "build ID not provided"},
		{"POST /moby.buildkit.v1.Control/Solve", 400, "gRPC needs HTTP/2: use it from the beginning, or upgrade a connection by POST /grpc"},
		{"PUT /volumes/a", 503, "volume update only valid for cluster volumes, but swarm is unavailable"},
	} {
		method, path, _ := strings.Cut(test.request, " ")
		w := ask(t, Parts{}, method, path, "")
		var body common.ErrorResponse
		if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil || w.Code != test.status || body.Message != test.message {
			t.Errorf("%s: %d %s", test.request, w.Code, w.Body)
		}
		if w.Header().Get("Content-Type") != "application/json" {
			t.Errorf("%s: content type %q", test.request, w.Header().Get("Content-Type"))
		}
	}
	if w := ask(t, Parts{}, http.MethodGet, "/plugins", ""); w.Code != 200 || w.Body.String() != "[]\n" {
		t.Errorf("plugins: %d %s", w.Code, w.Body)
	}
}

func BenchmarkFindRoute(b *testing.B) {
	routes := New(Parts{}).routes
	for b.Loop() {
		routes.find("POST", "/containers/0123456789abcdef/wait")
	}
}
