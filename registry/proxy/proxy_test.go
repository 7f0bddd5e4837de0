package proxy

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/opencontainers/go-digest"
)

func TestParseUpstream(t *testing.T) {
	for text, want := range map[string]struct {
		upstream Upstream
		plain    bool
		name     string // of "x" there
	}{
		"https://registry-1.docker.io":     {Upstream{"docker.io", ""}, false, "docker.io/library/x"},
		"docker.io":                        {Upstream{"docker.io", ""}, false, "docker.io/library/x"},
		"https://index.docker.io/v2/":      {Upstream{"docker.io", ""}, false, "docker.io/library/x"},
		"http://reg.example:5000":          {Upstream{"reg.example:5000", ""}, true, "reg.example:5000/x"},
		"https://reg.example/v2/":          {Upstream{"reg.example", ""}, false, "reg.example/x"},
		"https://harbor.example/hub/":      {Upstream{"harbor.example", "hub"}, false, "harbor.example/hub/x"},
		"https://harbor.example/v2/hub/de": {Upstream{"harbor.example", "hub/de"}, false, "harbor.example/hub/de/x"},
		"[::1]:5000":                       {Upstream{"[::1]:5000", ""}, false, "[::1]:5000/x"},
	} {
		got, plain, err := ParseUpstream(text)
		if err != nil || got != want.upstream || plain != want.plain || got.name("x").Repository() != want.name {
			t.Errorf("%s: %+v %v %v, want %+v", text, got, plain, err, want)
		}
	}
	if got := (Upstream{"docker.io", ""}).name("me/x").Path; got != "me/x" {
		t.Errorf("a name of two parts became %s", got)
	}
	for _, text := range []string{"", "ftp://x", "https://", "https://u:p@x", "https://x?y=1", "https://x/UPPER", "https://x/a..b/../c"} {
		if u, _, err := ParseUpstream(text); err == nil {
			t.Errorf("%q is taken for %+v", text, u)
		}
	}
}

// filled is a download into a real spool, and what it is to become.
func filled(t *testing.T, content string) *download {
	t.Helper()
	file, err := spool(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	d := newDownload()
	d.begin(file, int64(len(content)), digest.FromString(content).Verifier())
	t.Cleanup(d.release)
	return d
}

func TestReadersFollowADownload(t *testing.T) {
	content := strings.Repeat("0123456789abcdef", 10000)
	d := filled(t, content)
	var wait sync.WaitGroup
	for i := range 5 {
		wait.Go(func() {
			r := d.join(t.Context())
			defer r.Close()
			r.offset = int64(i * 1000)
			got, err := io.ReadAll(iotest.HalfReader(r))
			if err != nil || string(got) != content[i*1000:] {
				t.Errorf("reader %d: %d bytes, %v", i, len(got), err)
			}
		})
	}
	if _, err := io.Copy(d, strings.NewReader(content)); err != nil {
		t.Fatal(err)
	}
	if !d.sum.Verified() {
		t.Error("not verified")
	}
	d.finish(nil)
	wait.Wait()
}

// The last byte is held back until the whole is known to be right.
func TestADownloadThatIsWrongNeverEndsWell(t *testing.T) {
	d := filled(t, "right")
	r := d.join(t.Context())
	defer r.Close()
	if _, err := d.Write([]byte("wrong")); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 10)
	if n, err := r.Read(got); n != 4 || err != nil {
		t.Errorf("before the end: %q, %v", got[:n], err)
	}
	bad := errors.New("bad")
	go d.finish(bad)
	if n, err := r.Read(got); n != 0 || !errors.Is(err, bad) {
		t.Errorf("at the end: %q, %v", got[:n], err)
	}
}

func TestAReaderThatGoesAwayWaitsForNothing(t *testing.T) {
	d := filled(t, "never comes")
	ctx, cancel := context.WithCancel(t.Context())
	r := d.join(ctx)
	cancel()
	if _, err := r.Read(make([]byte, 1)); !errors.Is(err, context.Canceled) {
		t.Errorf("read: %v", err)
	}
	r.Close()
}

func TestTheSpoolLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	file, err := spool(dir)
	if err != nil {
		t.Fatal(err)
	}
	d := newDownload()
	d.begin(file, 1, digest.FromString("x").Verifier())
	r := d.join(t.Context())
	d.release()
	if _, err := file.Stat(); err != nil {
		t.Errorf("closed under a reader: %v", err)
	}
	r.Close()
	if _, err := file.Stat(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("not closed with the last reader: %v", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	if _, err := spool(dir + "/absent"); !errors.Is(err, errSpool) {
		t.Errorf("no folder: %v", err)
	}
}

// TestDownloadsWaitTheirTurn: where as many downloads go on as may, one more waits, until the cache ends.
func TestDownloadsWaitTheirTurn(t *testing.T) {
	p := New(Config{}, Parts{})
	for range maxDownloads {
		p.slots <- struct{}{}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := p.join(ctx, "r", digest.FromString("x"), true); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("it did not wait: %v", err)
	}
	p.Close()
	if len(p.downloads) != 0 {
		t.Errorf("%d downloads are left", len(p.downloads))
	}
}
