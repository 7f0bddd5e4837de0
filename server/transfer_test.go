package server

import (
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	js "github.com/moby/moby/api/types/jsonstream"

	"github.com/cove-containers/cove/image"
)

func TestPull(t *testing.T) {
	var name string
	var options image.PullOptions
	var failure error
	var messages int
	p := Parts{Transfers: fakeTransfers{pull: func(_ context.Context, ref string, o image.PullOptions) (*image.Image, error) {
		name, options = ref, o
		for range messages {
			o.Progress(js.Message{Status: "Downloading", ID: "abc", Progress: &js.Progress{Current: 1, Total: 2}})
		}
		return nil, failure
	}}}
	messages = 1
	w := ask(t, p, "POST", "/v1.45/images/create?fromImage=alpine&tag=3.20&platform=linux/arm64", "")
	if w.Code != 200 || w.Body.String() != `{"status":"Downloading","progressDetail":{"current":1,"total":2},"id":"abc"}`+"\r\n" || name != "docker.io/library/alpine:3.20" || options.Platform.Architecture != "arm64" || options.AllTags {
		t.Errorf("%d %s %s %+v", w.Code, w.Body, name, options)
	}
	if !w.Flushed || w.Header().Get("Content-Type") != "application/json" {
		t.Error("not flushed, or no JSON")
	}
	failure = errors.New("it <breaks>")
	w = ask(t, p, "POST", "/images/create?fromImage=alpine", "")
	if _, last, _ := strings.Cut(w.Body.String(), "\r\n"); w.Code != 200 || last != `{"errorDetail":{"message":"it \u003cbreaks\u003e"},"error":"it \u003cbreaks\u003e"}`+"\r\n" || !options.AllTags {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	messages, failure = 0, errdefs.ErrNotFound.WithMessage("manifest unknown")
	if w = ask(t, p, "POST", "/images/create?fromImage=alpine&tag=x", ""); w.Code != 404 || w.Body.String() != `{"message":"manifest unknown"}`+"\n" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	for path, status := range map[string]int{
		"/images/create?fromImage=UPPER":              400,
		"/images/create?fromImage=a&tag=b/c":          400,
		"/images/create?fromImage=scratch&tag=1":      403,
		"/images/create":                              400,
		"/images/create?fromSrc=ftp://h/x":            400,
		"/images/create?fromSrc=-&repo=UPPER":         400,
		"/images/create?fromImage=a&platform=a/b/c/d": 400,
	} {
		if w := ask(t, p, "POST", path, ""); w.Code != status {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
}

func TestPush(t *testing.T) {
	var name string
	var options image.PushOptions
	var failure error
	p := Parts{Transfers: fakeTransfers{push: func(ref string, o image.PushOptions) error {
		name, options = ref, o
		o.Progress(js.Message{Status: "The push refers to repository [r/x]"})
		return failure
	}}}
	const first = `{"status":"The push refers to repository [r/x]"}` + "\r\n"
	for _, tt := range []struct{ path, name, platform string }{
		{"/v1.51/images/r:5000/a/x/push?tag=1", "r:5000/a/x:1", ""},
		{"/v1.51/images/r:5000/a/x:2/push", "r:5000/a/x:2", ""},
		{"/images/x/push", "docker.io/library/x", ""},
		{"/images/x/push?tag=sha256:" + strings.Repeat("0", 64), "docker.io/library/x@sha256:" + strings.Repeat("0", 64), ""},
		{"/images/x/push?tag=1&platform=%7B%22os%22:%22linux%22,%22architecture%22:%22arm64%22%7D", "docker.io/library/x:1", "arm64"},
		{"/v1.45/images/x/push?tag=1&platform=%7B%22os%22:%22linux%22,%22architecture%22:%22arm64%22%7D", "docker.io/library/x:1", ""},
	} {
		w := ask(t, p, "POST", tt.path, "")
		platform := ""
		if options.Platform != nil {
			platform = options.Platform.Architecture
		}
		if w.Code != 200 || w.Body.String() != first || name != tt.name || platform != tt.platform {
			t.Errorf("%s: %d %s, name %s, platform %q", tt.path, w.Code, w.Body, name, platform)
		}
	}
	failure = errors.New("denied")
	if w := ask(t, p, "POST", "/images/x/push?tag=1", ""); w.Code != 200 || w.Body.String() != first+`{"errorDetail":{"message":"denied"},"error":"denied"}`+"\r\n" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	for _, path := range []string{"/images/UPPER/push", "/images/x/push?tag=a/b", "/images/x/push?platform=linux"} {
		if w := ask(t, p, "POST", path, ""); w.Code != 400 {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
}

func TestPulledNames(t *testing.T) {
	digest := "sha256:" + strings.Repeat("0", 64)
	for _, test := range []struct {
		from, tag, want string
		all             bool
	}{
		{"alpine", "", "docker.io/library/alpine", true},
		{"alpine:", "", "docker.io/library/alpine", true},
		{"alpine:1", "", "docker.io/library/alpine:1", false},
		{"alpine", "2", "docker.io/library/alpine:2", false},
		{"r:5000/a/b", digest, "r:5000/a/b@" + digest, false},
		{"r:5000/a/b@" + digest, "", "r:5000/a/b@" + digest, false},
	} {
		got, all, err := pulledName(test.from, test.tag)
		if err != nil || got != test.want || all != test.all {
			t.Errorf("%+v: %s %v %v", test, got, all, err)
		}
	}
}

// TestCancelledPull: who hangs up does not leave the work running.
func TestCancelledPull(t *testing.T) {
	ended := make(chan struct{})
	_, path := serve(t, Parts{Transfers: fakeTransfers{pull: func(ctx context.Context, _ string, o image.PullOptions) (*image.Image, error) {
		o.Progress(js.Message{Status: "Pulling"})
		<-ctx.Done()
		close(ended)
		return nil, ctx.Err()
	}}})
	res, err := dialer(path).Post("http://cove/images/create?fromImage=a", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	select {
	case <-ended:
	case <-time.After(30 * time.Second):
		t.Fatal("still pulling")
	}
}

func TestCredentials(t *testing.T) {
	text := `{"username":"u","password":"päss?>","serveraddress":"r"}`
	for _, raw := range []string{
		base64.URLEncoding.EncodeToString([]byte(text)),
		base64.RawURLEncoding.EncodeToString([]byte(text)),
		base64.StdEncoding.EncodeToString([]byte(text)),
	} {
		if got := credentials(http.Header{"X-Registry-Auth": {raw}}); got.Username != "u" || got.Password != "päss?>" {
			t.Errorf("%s: %+v", raw, got)
		}
	}
	old := base64.URLEncoding.EncodeToString([]byte(`{"auth":"` + base64.StdEncoding.EncodeToString([]byte("a:b:c")) + `"}`))
	if got := credentials(http.Header{"X-Registry-Auth": {old}}); got.Username != "a" || got.Password != "b:c" {
		t.Errorf("%+v", got)
	}
	for _, raw := range []string{"", "null", "!!!", "e30=", "bnVsbA=="} {
		if got := credentials(http.Header{"X-Registry-Auth": {raw}}); got.Username != "" {
			t.Errorf("%q: %+v", raw, got)
		}
	}
}

func TestLoadAndSave(t *testing.T) {
	var quiet bool
	var failure error
	p := Parts{Transfers: fakeTransfers{
		load: func(r io.Reader, o image.LoadOptions) error {
			quiet = o.Quiet
			text, _ := io.ReadAll(r)
			o.Progress(js.Message{Stream: string(text)})
			return failure
		},
		save: func(names []string, w io.Writer) error {
			if failure == nil || len(names) > 1 {
				_, _ = io.WriteString(w, strings.Join(names, " "))
			}
			return failure
		},
	}}
	if w := ask(t, p, "POST", "/images/load?quiet=0", "tar"); w.Code != 200 || w.Body.String() != `{"stream":"tar"}`+"\r\n" || quiet {
		t.Errorf("%d %s %v", w.Code, w.Body, quiet)
	}
	if w := ask(t, p, "GET", "/images/get?names=a&names=b", ""); w.Body.String() != "a b" || w.Header().Get("Content-Type") != "application/x-tar" {
		t.Errorf("%s %v", w.Body, w.Header())
	}
	if w := ask(t, p, "GET", "/images/r/a:1/get", ""); w.Body.String() != "r/a:1" {
		t.Errorf("%s", w.Body)
	}
	failure = errdefs.ErrNotFound.WithMessage("No such image: a")
	if w := ask(t, p, "GET", "/images/a/get", ""); w.Code != 404 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := ask(t, p, "POST", "/images/load", ""); w.Code != 200 || !strings.Contains(w.Body.String(), `"error":"No such image: a"`) || !quiet {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	_, path := serve(t, p)
	res, err := dialer(path).Get("http://cove/images/get?names=a&names=b")
	if err == nil {
		_, err = io.ReadAll(res.Body)
		res.Body.Close()
	}
	if err == nil {
		t.Error("an archive that breaks off looks whole")
	}
}
