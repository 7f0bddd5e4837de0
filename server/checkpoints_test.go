package server

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/checkpoint"
)

type fakeCheckpoints struct {
	able  bool
	calls *[]string
}

func (f fakeCheckpoints) note(format string, args ...any) error {
	*f.calls = append(*f.calls, fmt.Sprintf(format, args...))
	if strings.Contains(fmt.Sprint(args...), "missing") {
		return errdefs.ErrNotFound.WithMessage("no such thing")
	}
	return nil
}
func (f fakeCheckpoints) HasCriu() bool { return f.able }
func (f fakeCheckpoints) CheckpointCreate(_ context.Context, ref string, r checkpoint.CreateRequest) error {
	return f.note("create %s %s %s %v", ref, r.CheckpointID, r.CheckpointDir, r.Exit)
}
func (f fakeCheckpoints) CheckpointList(_ context.Context, ref, dir string) ([]checkpoint.Summary, error) {
	return []checkpoint.Summary{{Name: "one"}}, f.note("list %s %s", ref, dir)
}
func (f fakeCheckpoints) CheckpointRemove(_ context.Context, ref, name, dir string) error {
	return f.note("remove %s %s %s", ref, name, dir)
}
func (f fakeCheckpoints) ContainerRestore(_ context.Context, ref, name, dir string) error {
	return f.note("restore %s %s %s", ref, name, dir)
}

func TestCheckpoints(t *testing.T) {
	for _, test := range []struct {
		request, body string
		status        int
		answer, call  string
	}{
		{"POST /containers/c/checkpoints", `{"CheckpointID":"one","CheckpointDir":"/d","Exit":true}`, 201, "", "create c one /d true"},
		{"POST /containers/c/checkpoints", `{`, 400, "", ""},
		{"POST /containers/missing/checkpoints", `{}`, 404, `{"message":"no such thing"}`, "create missing   false"},
		{"GET /containers/c/checkpoints?dir=/d", "", 200, `[{"Name":"one"}]`, "list c /d"},
		{"DELETE /containers/c/checkpoints/one?dir=/d", "", 204, "", "remove c one /d"},
		{"DELETE /containers/c/checkpoints/missing", "", 404, "", "remove c missing "},
		{"POST /containers/c/start?checkpoint=one&checkpoint-dir=/d", "", 204, "", "restore c one /d"},
		{"POST /containers/c/start?checkpoint=missing", "", 404, "", "restore c missing "},
		{"GET /_ping", "", 200, "OK", ""},
	} {
		for _, able := range []bool{true, false} {
			var calls []string
			method, path, _ := strings.Cut(test.request, " ")
			w := ask(t, Parts{Checkpoints: fakeCheckpoints{able, &calls}}, method, path, test.body)
			if got := w.Header().Get("Docker-Experimental"); got != fmt.Sprint(able) {
				t.Errorf("%s: experimental is %s, want %v", test.request, got, able)
			}
			if !able && path != "/_ping" {
				if w.Code != http.StatusNotImplemented && w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "experimental") || len(calls) > 0 {
					t.Errorf("%s, without criu: %d %s %q", test.request, w.Code, w.Body, calls)
				}
				continue
			}
			answer := strings.TrimSpace(w.Body.String())
			if w.Code != test.status || test.answer != "" && answer != test.answer || strings.Join(calls, ";") != test.call {
				t.Errorf("%s: %d %s, called %q", test.request, w.Code, answer, calls)
			}
		}
	}
}
