package test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestClassicBuild builds as clients do that know nothing of BuildKit, and as the docker client did between the two.
func TestClassicBuild(t *testing.T) {
	needDocker(t)
	b := newBuilder(t)
	dir := folder(t, "Dockerfile", "FROM busybox AS one\nARG X=1\nRUN echo x is $X >/x && cat /x\nFROM one\nCOPY f /f\nENV a=b\nCMD [\"cat\", \"/f\"]\n", "f", "hello\n")
	classic := func(dir, stdin string, args ...string) (string, int) {
		t.Helper()
		cmd := b.Command(append([]string{"docker", "build"}, args...)...)
		cmd.Dir, cmd.Env = dir, append(cmd.Env, "DOCKER_BUILDKIT=0")
		if stdin != "" {
			cmd.Stdin = strings.NewReader(stdin)
		}
		out, _ := cmd.CombinedOutput()
		return string(out), cmd.ProcessState.ExitCode()
	}
	out, code := classic(dir, "", "-t", "classic:1", "--build-arg", "X=7", "--label", "l=v", ".")
	order := regexp.MustCompile(`(?s)Step 1/7 : FROM busybox AS one\n.*Step 2/7 : ARG X=1\nStep 3/7 : RUN echo .*x is 7\n ---> [0-9a-f]{12}\nStep 4/7 : FROM one\nStep 5/7 : COPY f /f\n.*Step 7/7 : CMD \["cat", "/f"\]\nSuccessfully built ([0-9a-f]{12})\nSuccessfully tagged classic:1\n`)
	if code != 0 || !order.MatchString(out) {
		t.Errorf("status %d:\n%s", code, out)
	}
	if told := order.FindStringSubmatch(out); told != nil && b.Run("docker", "run", "--rm", told[1]) != "hello" {
		t.Errorf("the image that was told of is another one")
	}
	if out, code = classic(dir, "", "-t", "classic:1", "--build-arg", "X=7", "--label", "l=v", "."); code != 0 || strings.Count(out, "Using cache") < 2 {
		t.Errorf("again, status %d:\n%s", code, out)
	}
	if out, code = classic(dir, "", "-q", "."); code != 0 || !regexp.MustCompile(`(?m)^sha256:[0-9a-f]{64}$`).MatchString(out) {
		t.Errorf("quiet, status %d:\n%s", code, out)
	}
	for what, test := range map[string]struct{ dir, stdin string }{
		"Dockerfile": {"", "FROM busybox\nRUN echo alone\n"}, "archive": {"", archive(t, dir)},
	} {
		if out, code = classic(test.dir, test.stdin, "-"); code != 0 || !strings.Contains(out, "Successfully built") {
			t.Errorf("%s from standard input, status %d:\n%s", what, code, out)
		}
	}
	beside := folder(t, "D", "FROM busybox\nCOPY f /\nRUN exit 9\n")
	out, code = classic(dir, "", "-f", filepath.Join(beside, "D"), ".")
	if code != 9 || !strings.Contains(out, "Step 3/3 : RUN exit 9") || !strings.Contains(out, "The command '/bin/sh -c exit 9' returned a non-zero code: 9") {
		t.Errorf("a command that fails, status %d:\n%s", code, out)
	}
	if out, code = classic(folder(t, "Dockerfile", "FROM busybox\nNOPE\n"), "", "."); code != 1 || !strings.Contains(out, "unknown instruction: NOPE") {
		t.Errorf("an instruction there is not, status %d:\n%s", code, out)
	}
	if out, code = classic(dir, "", "--network", "none", "--memory", "64m", "--no-cache", "."); code != 0 {
		t.Errorf("limits, status %d:\n%s", code, out)
	}
	b.sessionMode(t, dir)
}

// sessionMode is BuildKit over the classic call, which the docker client had from 18.09 until buildx took over.
func (b *builder) sessionMode(t *testing.T, dir string) {
	version, err := exec.Command("/usr/bin/docker", "--version").Output()
	if err != nil || !regexp.MustCompile(`version (19|20|22)\.`).Match(version) {
		t.Logf("no docker client of that age here: %s", version)
		return
	}
	for what, stdin := range map[string]string{"folder": "", "archive": archive(t, dir), "Dockerfile": "FROM busybox\nRUN echo alone\n"} {
		from := "."
		if stdin != "" {
			from = "-"
		}
		cmd := b.Command("/usr/bin/docker", "build", "--progress=plain", "-t", "session", from)
		cmd.Dir, cmd.Env = dir, append(cmd.Env, "DOCKER_BUILDKIT=1")
		if stdin != "" {
			cmd.Stdin = strings.NewReader(stdin)
		}
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "naming to docker.io/library/session") {
			t.Errorf("%s: %v\n%s", what, err, out)
		}
	}
}

// TestServicesAreBuilt builds a project of three services with compose and with bake.
func TestServicesAreBuilt(t *testing.T) {
	needDocker(t)
	b := newBuilder(t)
	b.config = plugins(t, map[string]string{"buildx": b.path, "compose": compose(t)})
	dir := folder(t,
		"compose.yaml", "services:\n  a: {build: ./a}\n  b: {build: {context: ./b, args: {WHO: bee}}, image: named-b}\n  c: {build: {context: ., dockerfile_inline: \"FROM busybox\\nCOPY a/Dockerfile /d\\nCMD cat /d\"}, depends_on: [a]}\n",
		"a/Dockerfile", "FROM busybox\nRUN echo built a >/out\nCMD cat /out\n",
		"b/Dockerfile", "FROM busybox\nARG WHO\nRUN echo built $WHO >/out\nCMD cat /out\n",
		"docker-bake.hcl", "group \"default\" { targets = [\"x\", \"y\"] }\ntarget \"x\" {\n  context = \"a\"\n  tags = [\"baked-x\"]\n}\ntarget \"y\" {\n  context = \"b\"\n  args = { WHO = \"why\" }\n  contexts = { busybox = \"target:x\" }\n  tags = [\"baked-y\"]\n}\n",
	)
	b.must(dir, "", "docker", "compose", "-p", "trio", "build")
	out := b.must(dir, "", "docker", "compose", "-p", "trio", "up", "--no-color")
	for _, words := range []string{"built a", "built bee", "FROM busybox"} {
		if !strings.Contains(out, words) {
			t.Errorf("no %q in\n%s", words, out)
		}
	}
	b.must(dir, "", "docker", "compose", "-p", "trio", "down")
	b.must(dir, "", "docker", "buildx", "bake", "-f", "docker-bake.hcl")
	if got := b.Run("docker", "run", "--rm", "baked-y"); got != "built why" {
		t.Errorf("baked: %q", got)
	}
	if out := b.must(dir, "", "docker", "buildx", "bake", "-f", "compose.yaml"); !strings.Contains(out, "named-b") {
		t.Errorf("bake of a compose file:\n%s", out)
	}
}

// TestManyBuildsShareSteps begins twenty builds at once: what they have in common runs once.
func TestManyBuildsShareSteps(t *testing.T) {
	t.Parallel()
	b := newBuilder(t)
	const builds = 20
	shared := "FROM busybox AS base\nRUN sleep 1; date +%N >/when; cat /proc/sys/kernel/random/uuid >/shared\nFROM base\nARG N\nRUN echo $N >/own\n"
	dir := folder(t, "Dockerfile", shared)
	var all sync.WaitGroup
	for n := range builds {
		all.Go(func() {
			if out, err := b.try("--build-arg", fmt.Sprint("N=", n), "-t", fmt.Sprint("many:", n), dir); err != nil {
				t.Errorf("%d: %v\n%s", n, err, out)
			}
		})
	}
	all.Wait()
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", b.daemon.Process.Pid))
	t.Logf("the daemon: %s", regexp.MustCompile(`VmHWM:\s*(.*)`).FindSubmatch(status)[1])
	shares := map[string]bool{}
	for n := range builds {
		said := strings.Fields(b.Run("cove", "run", "--rm", "--network=none", fmt.Sprint("many:", n), "cat", "/shared", "/own"))
		if len(said) != 2 || said[1] != fmt.Sprint(n) {
			t.Fatalf("%d: %q", n, said)
		}
		shares[said[0]] = true
	}
	if len(shares) != 1 {
		t.Errorf("the shared step ran %d times", len(shares))
	}
}

// TestBuildsThatAreLeft interrupts builds in each way a client can go: what ran for them ends, and the next build works (DF-19).
func TestBuildsThatAreLeft(t *testing.T) {
	b := newBuilder(t)
	dir := folder(t, "Dockerfile", "FROM busybox\nRUN echo begun; trap '' TERM INT; sleep 301\n")
	until := func(runs bool, fault string) {
		t.Helper()
		for deadline := time.Now().Add(30 * time.Second); sleeping(b.Dir) != runs; time.Sleep(50 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Error(fault)
				return
			}
		}
	}
	gone := func(what string) { t.Helper(); until(false, what+": the step is still running") }
	begun := func(what string) { t.Helper(); until(true, what+": the step does not run") } // it speaks before it sleeps
	for what, signal := range map[string]syscall.Signal{"interrupted": syscall.SIGINT, "killed": syscall.SIGKILL} {
		cmd := exec.Command(b.path, "build", "--progress=plain", "--no-cache", dir)
		cmd.Env = append(os.Environ(), "DOCKER_HOST="+b.Socket(), "DOCKER_CONFIG="+b.config, "BUILDX_CONFIG="+filepath.Join(b.Dir, "buildx"))
		pipe, err := cmd.StderrPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(pipe)
		for lines.Scan() && !strings.HasSuffix(lines.Text(), " begun") {
		}
		begun(what)
		since := time.Now()
		_ = cmd.Process.Signal(signal)
		for lines.Scan() {
		}
		_ = cmd.Wait()
		if took := time.Since(since); took > time.Minute {
			t.Errorf("%s: the client took %v to end", what, took)
		}
		gone(what)
	}

	// The classic call: its connection breaks, its body breaks off, or another call cancels it.
	text := archive(t, dir)
	for what, leave := range map[string]func(conn net.Conn){
		"hung up":   func(conn net.Conn) { conn.Close() },
		"cancelled": func(net.Conn) { b.post(t, "/build/cancel?id=mine") },
	} {
		conn, err := net.Dial("unix", strings.TrimPrefix(b.Socket(), "unix://"))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "POST /build?nocache=1&buildid=mine HTTP/1.1\r\nHost: d\r\nContent-Type: application/x-tar\r\nContent-Length: %d\r\n\r\n%s", len(text), text)
		lines := bufio.NewScanner(conn)
		for lines.Scan() && !strings.Contains(lines.Text(), "begun") {
		}
		begun(what)
		leave(conn)
		gone(what)
		conn.Close()
	}
	conn, err := net.Dial("unix", strings.TrimPrefix(b.Socket(), "unix://"))
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "POST /build HTTP/1.1\r\nHost: d\r\nContent-Type: application/x-tar\r\nContent-Length: %d\r\n\r\n%s", 10<<20, text)
	conn.Close()

	if out, err := b.try("--no-cache", folder(t, "Dockerfile", "FROM busybox\nRUN true\n")); err != nil {
		t.Errorf("the next build: %v\n%s", err, out)
	}
	left, _ := filepath.Glob(filepath.Join(b.DataRoot, ".context-*"))
	if len(left) > 0 {
		t.Errorf("left of contexts: %v", left)
	}
}

// post sends a call without a body.
func (b *builder) post(t *testing.T, path string) {
	t.Helper()
	web := &http.Client{Transport: &http.Transport{DialContext: unixDialer(b.Socket()), DisableKeepAlives: true}}
	answer, err := web.Post("http://d"+path, "", nil)
	if err != nil {
		t.Error(err)
		return
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		t.Errorf("%s: %s", path, answer.Status)
	}
}

// sleeping tells whether the step of TestBuildsThatAreLeft runs for the engine of that folder.
func sleeping(dir string) bool { return sleeper(dir) != "" }

// sleeper is the folder of proc of the process that does.
func sleeper(dir string) string {
	found, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range found {
		line, _ := os.ReadFile(f)
		if !bytes.Equal(line, []byte("sleep\x00301\x00")) {
			continue
		}
		if mounts, err := os.ReadFile(filepath.Join(filepath.Dir(f), "mountinfo")); err == nil && bytes.Contains(mounts, []byte(dir)) {
			return filepath.Dir(f)
		}
	}
	return ""
}

// TestBuildOfTheSDK builds as docker-py does, and reads what it reads.
func TestBuildOfTheSDK(t *testing.T) {
	needRoot(t)
	const python = "/usr/bin/python3"
	if err := exec.Command(python, "-c", "import docker").Run(); err != nil {
		t.Skip("python3-docker is not installed")
	}
	b := newBuilder(t)
	cmd := exec.Command(python, "testdata/sdk/build.py")
	cmd.Env = append(os.Environ(), "DOCKER_HOST="+b.Socket())
	if out, err := cmd.CombinedOutput(); err != nil || !strings.HasSuffix(string(out), "is well\n") {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestBuildCache is the classic API's view of what builds leave.
func TestBuildCache(t *testing.T) {
	b := newBuilder(t)
	b.build(folder(t, "Dockerfile", "FROM busybox\nRUN dd if=/dev/zero of=/big bs=1M count=3\n"))
	var usage struct {
		BuildCache []struct {
			ID, Type, Description string
			Size                  int64
			LastUsedAt            *time.Time
		}
		BuildCacheUsage struct{ TotalSize, TotalCount, Reclaimable int64 }
	}
	web := &http.Client{Transport: &http.Transport{DialContext: unixDialer(b.Socket()), DisableKeepAlives: true}}
	ask := func(method, path string, to any) {
		t.Helper()
		r, _ := http.NewRequest(method, "http://d"+path, nil)
		answer, err := web.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		if err := json.NewDecoder(answer.Body).Decode(to); err != nil || answer.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s %v", path, answer.Status, err)
		}
	}
	ask("GET", "/v1.52/system/df?type=build-cache", &usage)
	found := false
	for _, r := range usage.BuildCache {
		found = found || strings.Contains(r.Description, "dd if=/dev/zero") && r.Size >= 3<<20 && r.Type == "regular" && r.LastUsedAt != nil
	}
	if !found || usage.BuildCacheUsage.TotalSize < 3<<20 {
		t.Errorf("%+v", usage)
	}
	var report struct {
		CachesDeleted  []string
		SpaceReclaimed int64
	}
	ask("POST", "/build/prune?all=1", &report)
	if len(report.CachesDeleted) == 0 || report.SpaceReclaimed < 3<<20 {
		t.Errorf("%+v", report)
	}
	usage.BuildCache = nil
	ask("GET", "/v1.52/system/df?type=build-cache", &usage)
	if len(usage.BuildCache) != 0 {
		t.Errorf("after the prune: %+v", usage.BuildCache)
	}
}

// unixDialer reaches a daemon's socket, whatever host is asked for.
func unixDialer(socket string) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", strings.TrimPrefix(socket, "unix://"))
	}
}
