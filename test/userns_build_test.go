package test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// What a build in user namespaces is to show: by doors that know mounts, and by Docker's first.
const (
	ownedSteps = `FROM busybox
RUN mkdir /d && touch /d/roots /d/fives && chown 5:6 /d/fives && chmod 4755 /d/roots && rm /bin/ash && ls /sys/class/net
COPY --chown=7:8 x /d/copied
USER 5:6
RUN id -u && echo 1 >>/d/fives && ! touch /d/roots 2>/dev/null
USER 0
RUN chown 9:10 /d/copied && stat -c '%u:%g %a %n' /d/* && echo map $(cat /proc/self/uid_map /proc/self/gid_map)
`
	mountedSteps = `RUN --mount=type=cache,target=/c --mount=type=cache,target=/c/in/deep,id=in,uid=5,gid=6 --mount=type=tmpfs,target=/c/in/deep/t \
    echo 1 >>/c/n && touch /c/in/deep/x /c/in/deep/t/x && stat -c '%u:%g %n' /c/n /c/in/deep /c/in/deep/x /c/in/deep/t/x && echo $(wc -l </c/n) lines
RUN --mount=type=secret,id=s,uid=5,gid=6,mode=0440,target=/s stat -c '%u:%g %a %n' /s && cat /s
RUN --mount=type=bind,from=busybox,source=/bin,target=/b --mount=type=bind,rw,target=/w touch /w/new && stat -c '%u:%g %n' /b/busybox /w/x /w/new /etc/hosts
USER 5
RUN --mount=type=ssh,uid=5,gid=6,mode=0600,target=/agent stat -c '%u:%g %a %n' /agent && test -w /agent
RUN --mount=type=ssh,uid=7,mode=0600,target=/agent ! test -w /agent
`
)

var (
	ownedShown   = []string{"5\n", "5:6 644 /d/fives", "0:0 4755 /d/roots", "9:10 644 /d/copied"}
	mountedShown = []string{"0:0 /c/n", "5:6 /c/in/deep\n", "0:0 /c/in/deep/x", "0:0 /c/in/deep/t/x", "5:6 440 /s", "hidden", "0:0 /b/busybox", "0:0 /w/new", "0:0 /etc/hosts", "5:6 600 /agent"}
)

// TestBuildsInUserNamespaces builds by every door, by a daemon whose containers have user namespaces of their own and by one whose do
// not: what comes of it is the same, bit by bit.
func TestBuildsInUserNamespaces(t *testing.T) {
	t.Parallel()
	needDocker(t)
	config := filepath.Join(t.TempDir(), "daemon.json")
	if err := os.WriteFile(config, []byte(`{"builder": {"entitlements": {"security-insecure": true}}}`), 0o644); err != nil {
		t.Fatal(err)
	}
	b := &builder{Engine: remapped(t, "steward", steward, "--config-file", config), t: t, path: buildx(t)}
	b.config = plugins(t, map[string]string{"buildx": b.path})
	dir := folder(t, "Dockerfile", ownedSteps+mountedSteps, "x", "x", "secret", "hidden\n")
	if err := os.WriteFile(filepath.Join(dir, "classic"), []byte(ownedSteps), 0o644); err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(t.TempDir(), "key")
	(&sshSite{}).keygen(t, key)
	agent := startAgent(t, key)
	modern := []string{"--progress=plain", "--build-arg", "SOURCE_DATE_EPOCH=1700000000", "--secret", "id=s,src=secret", "--ssh", "default=" + agent, "-t"}
	doors := map[string][]string{
		"cove": append([]string{"cove", "build"}, modern...), "buildx": append([]string{"docker", "buildx", "build", "--load"}, modern...),
		"classic": {"env", "DOCKER_BUILDKIT=0", "docker", "build", "-f", "classic", "-t"},
	}
	images := map[string]string{}
	// all builds by every door; with more it runs everything, else it finds everything in the cache.
	all := func(maps string, more ...string) {
		t.Helper()
		for door, build := range doors {
			out := b.must(dir, "", slices.Concat(build, []string{door}, more, []string{"."})...)
			if len(more) > 0 {
				shows := append(slices.Clone(ownedShown), "map "+maps)
				if door != "classic" {
					shows = append(shows, mountedShown...)
				}
				for _, words := range shows {
					if !strings.Contains(out, words) {
						t.Errorf("%s does not show %q:\n%s", door, words, out)
					}
				}
			} else if strings.Contains(out, "map 0") {
				t.Errorf("%s runs once more what it has:\n%s", door, out)
			}
			image := b.Run("docker", "image", "inspect", "-f", "{{.Id}}", door)
			if images[door] == "" {
				images[door] = image
			}
			if image != images[door] {
				t.Errorf("%s makes %s, and before %s", door, image, images[door])
			}
		}
	}
	args := b.Args
	at := slices.Index(args, "--userns-remap")
	b.Args = slices.Delete(slices.Clone(args), at, at+2)
	b.Start()
	b.Load("busybox")
	all("0 0 4294967295 0 0 4294967295", "--no-cache")
	b.must("", "FROM busybox\nRUN --mount=type=cache,target=/kept echo first >/kept/x\n", "cove", "build", "-")
	b.Stop()
	b.Args = args
	b.Start()
	all("")
	all("0 100000 65536 0 200000 65536", "--no-cache")
	same(t, b.Engine, "5:6\n0:0", "docker", "run", "--rm", "cove", "stat", "-c", "%u:%g", "/d/fives", "/d/roots")
	b.cachedBefore(t)
	b.seenOutside(t)
	b.notInUserNamespaces(t)
	usersChecked(t, b.Engine)
}

// cachedBefore finds what the builds of another daemon have left in a cache mount.
func (b *builder) cachedBefore(t *testing.T) {
	t.Helper()
	out := b.must("", "FROM busybox\nRUN --mount=type=cache,target=/kept echo $(stat -c %u:%g /kept/x) of $(cut -d' ' -f1 /kept/x)\n", "cove", "build", "--progress=plain", "-")
	if !strings.Contains(out, "0:0 of first") {
		t.Errorf("what a build has left before:\n%s", out)
	}
}

// seenOutside looks at the process of a step from the host.
func (b *builder) seenOutside(t *testing.T) {
	t.Helper()
	cmd := b.client("docker", "buildx", "build", folder(t, "Dockerfile", "FROM busybox\nUSER 5\nRUN sleep 301\n"))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	process := ""
	for deadline := time.Now().Add(30 * time.Second); process == "" && time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		process = sleeper(b.Dir)
	}
	if process == "" {
		t.Error("the step does not run")
	} else if got := ownerOf(t, process); got != "100005:200000" {
		t.Errorf("the step's process belongs to %s", got)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	for deadline := time.Now().Add(30 * time.Second); sleeping(b.Dir); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the step still runs")
		}
	}
}

// notInUserNamespaces asks for what steps cannot have.
func (b *builder) notInUserNamespaces(t *testing.T) {
	t.Helper()
	const network = "cannot share the host's network namespace when user namespaces are enabled"
	plain := folder(t, "Dockerfile", "FROM busybox\nRUN echo 7\n")
	for _, c := range []struct {
		says, dir string
		build     []string
	}{
		{network, plain, []string{"cove", "build", "--network", "host"}},
		{network, plain, []string{"docker", "buildx", "build", "--network", "host"}},
		{network, plain, []string{"env", "DOCKER_BUILDKIT=0", "docker", "build", "--network", "host"}},
		{network, folder(t, "Dockerfile", "FROM busybox\nRUN --network=host echo 7\n"), []string{"cove", "build", "--allow", "network.host"}},
		{"privileged mode is incompatible with user namespaces", folder(t, "Dockerfile", "FROM busybox\nRUN --security=insecure echo 7\n"),
			[]string{"docker", "buildx", "build", "--allow", "security.insecure"}},
	} {
		if out, err := b.plugin(c.dir, "", append(c.build, ".")...); err == nil || !strings.Contains(out, c.says) {
			t.Errorf("%v: %v\n%s", c.build, err, out)
		}
	}
}
