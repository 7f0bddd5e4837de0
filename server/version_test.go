package server

import (
	"net/http"
	"strings"
	"testing"
)

func TestVersions(t *testing.T) {
	for _, test := range []struct {
		path   string
		status int
		body   string
	}{
		{"/_ping", 200, "OK"},
		{"/v1.24/_ping", 200, "OK"},
		{"/v1.56/_ping", 200, "OK"},
		{"/v1.41.0/_ping", 200, "OK"},
		{"/v1.23/_ping", 400, "client version 1.23 is too old. Minimum supported API version is 1.24, please upgrade your client to a newer version\n"},
		{"/v1.4/_ping", 400, "client version 1.4 is too old. Minimum supported API version is 1.24, please upgrade your client to a newer version\n"},
		{"/v1.99/_ping", 400, `{"message":"client version 1.99 is too new. Maximum supported API version is 1.56"}` + "\n"},
		{"/v2.0/_ping", 400, `{"message":"client version 2.0 is too new. Maximum supported API version is 1.56"}` + "\n"},
		{"/v99999999999999999999.1/_ping", 400, `{"message":"client version 99999999999999999999.1 is too new. Maximum supported API version is 1.56"}` + "\n"},
		{"/v/_ping", 404, `{"message":"page not found"}` + "\n"},
		{"/vx.1/_ping", 404, `{"message":"page not found"}` + "\n"},
		{"/v1.40", 404, `{"message":"page not found"}` + "\n"},
	} {
		w := ask(t, Parts{}, http.MethodGet, test.path, "")
		if w.Code != test.status || w.Body.String() != test.body {
			t.Errorf("%s: %d %s", test.path, w.Code, w.Body)
		}
		for _, header := range []string{"Api-Version", "Docker-Experimental", "Ostype", "Server"} {
			if w.Header().Get(header) == "" {
				t.Errorf("%s: no %s", test.path, header)
			}
		}
	}
}

func TestPing(t *testing.T) {
	w := ask(t, Parts{}, http.MethodHead, "/_ping", "")
	if w.Code != 200 || w.Body.Len() != 0 || w.Header().Get("Content-Length") != "0" {
		t.Errorf("HEAD: %d %q %v", w.Code, w.Body, w.Header())
	}
	for name, want := range map[string]string{
		"Api-Version": "1.56", "Ostype": "linux", "Docker-Experimental": "false", "Swarm": "inactive",
		"Cache-Control": "no-cache, no-store, must-revalidate", "Pragma": "no-cache", "Builder-Version": "2",
	} {
		if got := w.Header().Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if !strings.HasPrefix(w.Header().Get("Server"), "Cove/") {
		t.Errorf("Server: %q", w.Header().Get("Server"))
	}
}
