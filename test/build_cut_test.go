package test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestBuildsCutShort interrupts clients while their builds wait for a registry that never answers, for whatever they want of it:
// client and daemon let go of it at once, and nothing but what was done before is left.
func TestBuildsCutShort(t *testing.T) {
	needDocker(t)
	b := newBuilder(t)
	asked, dropped := make(chan string, 100), make(chan string, 100)
	silent := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		asked <- r.URL.Path
		<-r.Context().Done()
		dropped <- r.URL.Path
	}))
	defer silent.CloseClientConnections()
	host := strings.TrimPrefix(silent.URL, "http://")
	dir := folder(t, "Dockerfile", "FROM busybox\nRUN echo made >/made\n", "far", "FROM "+host+"/base\nRUN true\n")
	name := host + "/image:1"
	for what, args := range map[string][]string{
		"base":       {"-f", filepath.Join(dir, "far"), "-t", name},
		"push":       {"--push", "-t", name},
		"cache to":   {"-t", name, "--cache-to", "type=registry,mode=max,ref=" + host + "/cache:1"},
		"cache from": {"-t", name, "--cache-from", "type=registry,ref=" + host + "/cache:1"},
	} {
		for client, build := range map[string][]string{"cove": {"cove", "build", "--progress=plain"}, "buildx": {b.path, "build", "--progress=plain"}} {
			cmd := b.client(append(append(build, args...), dir)...)
			var out lockedBuffer
			cmd.Stdout, cmd.Stderr = &out, &out
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- cmd.Wait() }()
			within := func(c <-chan string, thing string) {
				t.Helper()
				select {
				case <-c:
				case <-time.After(30 * time.Second):
					t.Errorf("%s, %s: %s does not come\n%s", client, what, thing, out.String())
				}
			}
			within(asked, "the question")
			_ = cmd.Process.Signal(os.Signal(syscall.SIGINT))
			within(dropped, "the end of the question")
			select {
			case err := <-ended:
				if err == nil {
					t.Errorf("%s, %s: interrupted, and well", client, what)
				}
			case <-time.After(30 * time.Second):
				_ = cmd.Process.Kill()
				t.Errorf("%s, %s: the client stays\n%s", client, what, out.String())
			}
			for len(asked) > 0 { // others may have been asked at the same time
				<-asked
				within(dropped, "the end of another question")
			}
		}
	}
	if out := b.Run("cove", "images", "-a"); strings.Contains(out, "/base") {
		t.Errorf("images:\n%s", out)
	}
	const builds = 8
	cancelled := func() string {
		return b.must("", "", "docker", "buildx", "history", "ls", "--filter", "status=canceled", "--format", "json")
	}
	out := cancelled()
	for deadline := time.Now().Add(30 * time.Second); strings.Count(out, `"ref"`) < builds && time.Now().Before(deadline); { // a client does not wait for that
		out = cancelled()
	}
	if strings.Count(out, `"ref"`) != builds {
		t.Errorf("the history knows of these as cancelled:\n%s", out)
	}
	b.must(dir, "", "cove", "build", "-t", "well", ".")
	b.cove("builder", "prune", "-af")
	b.cove("system", "check")
}
