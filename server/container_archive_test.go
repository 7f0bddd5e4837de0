package server

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	ct "github.com/moby/moby/api/types/container"

	"github.com/cove-containers/cove/files"
)

// fakeFiles copies out its text, and fails with err before or after it.
type fakeFiles struct {
	text        string
	before, err error
	in          *bytes.Buffer
	told        *files.InOptions
	asleep      chan error // what a read that was cut failed with
}

func (f fakeFiles) Stat(_ context.Context, ref, path string) (ct.PathStat, error) {
	return ct.PathStat{Name: path, Size: 3, Mode: os.ModeDir | 0o750, LinkTarget: ref}, f.before
}
func (f fakeFiles) CopyOut(ctx context.Context, ref, path string, begin func(ct.PathStat) io.Writer, _ files.Line) error {
	st, _ := f.Stat(ctx, ref, path)
	return f.Export(ctx, ref, func() io.Writer { return begin(st) }, files.Line{})
}
func (f fakeFiles) CopyIn(_ context.Context, _, _ string, r io.Reader, o files.InOptions, line files.Line) error {
	*f.told = o
	if f.asleep != nil {
		time.AfterFunc(50*time.Millisecond, line.Cut)
	}
	_, err := io.Copy(f.in, r)
	if f.asleep != nil {
		f.asleep <- err
	}
	return f.err
}
func (f fakeFiles) Export(_ context.Context, _ string, begin func() io.Writer, _ files.Line) error {
	if f.before != nil {
		return f.before
	}
	_, err := io.WriteString(begin(), f.text)
	return errors.Join(err, f.err)
}

func TestArchives(t *testing.T) {
	var told files.InOptions
	var in bytes.Buffer
	f := fakeFiles{text: "tar", in: &in, told: &told}
	const stat = `{"name":"/x","size":3,"mode":2147484136,"mtime":"0001-01-01T00:00:00Z","linkTarget":"c"}`
	for _, method := range []string{"HEAD", "GET"} {
		w := ask(t, Parts{Files: f}, method, "/containers/c/archive?path=/x", "")
		if raw, _ := base64.StdEncoding.DecodeString(w.Header().Get("X-Docker-Container-Path-Stat")); string(raw) != stat || w.Code != 200 {
			t.Errorf("%s: %d %s", method, w.Code, raw)
		}
		if method == "GET" && (w.Body.String() != "tar" || w.Header().Get("Content-Type") != "application/x-tar") {
			t.Errorf("%s %v", w.Body, w.Header())
		}
	}
	if w := ask(t, Parts{Files: f}, "GET", "/containers/c/export", ""); w.Body.String() != "tar" || w.Code != 200 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := ask(t, Parts{Files: f}, "PUT", "/containers/c/archive?path=/x&noOverwriteDirNonDir=true&copyUIDGID=1", "data"); w.Code != 200 || in.String() != "data" || !told.KeepTypes || !told.AsUser {
		t.Errorf("%d %s %+v", w.Code, &in, told)
	}
	if ask(t, Parts{Files: f}, "PUT", "/containers/c/archive?path=/x&noOverwriteDirNonDir=0", ""); told != (files.InOptions{}) {
		t.Errorf("%+v", told)
	}
	f.before = errdefs.ErrNotFound.WithMessage("Could not find the file /x in container c")
	for _, request := range []string{"HEAD /containers/c/archive?path=/x", "GET /containers/c/archive?path=/x", "GET /containers/c/export"} {
		method, path, _ := strings.Cut(request, " ")
		if w := ask(t, Parts{Files: f}, method, path, ""); w.Code != 404 {
			t.Errorf("%s: %d", request, w.Code)
		}
	}
	for _, method := range []string{"HEAD", "GET", "PUT"} {
		if w := ask(t, Parts{Files: f}, method, "/containers/c/archive?path=", ""); w.Code != 400 {
			t.Errorf("%s without a path: %d", method, w.Code)
		}
	}
}

func TestArchivesBreakOff(t *testing.T) {
	f := fakeFiles{text: "ta", err: errors.New("gone"), in: &bytes.Buffer{}, told: &files.InOptions{}, asleep: make(chan error, 1)}
	_, path := serve(t, Parts{Files: f})
	for _, url := range []string{"http://cove/containers/c/archive?path=x", "http://cove/containers/c/export"} {
		res, err := dialer(path).Get(url)
		if err == nil {
			_, err = io.ReadAll(res.Body)
			res.Body.Close()
		}
		if err == nil {
			t.Errorf("%s: an archive that breaks off looks whole", url)
		}
	}
	// A client that sends nothing more does not keep the copy from ending.
	stuck, write := io.Pipe()
	defer write.Close()
	req, err := http.NewRequest(http.MethodPut, "http://cove/containers/c/archive?path=x", stuck)
	if err != nil {
		t.Fatal(err)
	}
	answered := make(chan int, 1)
	go func() {
		res, err := dialer(path).Do(req)
		if err != nil {
			answered <- 0
			return
		}
		res.Body.Close()
		answered <- res.StatusCode
	}()
	if err := <-f.asleep; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the read that was cut: %v", err)
	}
	if status := <-answered; status != http.StatusInternalServerError {
		t.Errorf("its client got status %d", status)
	}
}
