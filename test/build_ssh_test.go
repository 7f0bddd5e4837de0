package test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// The users of the server that TestBuildSSH asks: each has a key of its own.
const (
	sshUsers = "root:*:0:0::/root:/bin/sh\nsshd:*:74:74::/run/sshd:/bin/false\ngit:*:1001:1001::/srv:/bin/sh\ndeploy:*:1002:1002::/srv:/bin/sh\n"
	sshRules = "HostKey /etc/ssh/host\nAuthorizedKeysFile /etc/ssh/keys/%u\nStrictModes no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nUsePAM no\nPidFile none\n"
	sshImage = `FROM alpine:3.20 AS client
COPY root/ /
ENV GIT_SSH_COMMAND="ssh -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"
FROM client AS server
COPY ssh/ /etc/ssh/
COPY --chown=git srv/ /srv/
RUN ln -s git /usr/bin/git-upload-pack && mkdir -p /run/sshd && chmod 600 /etc/ssh/host && echo of the server >/srv/file
CMD ["/usr/sbin/sshd", "-D", "-e", "-f", "/etc/ssh/rules"]
`
)

// sshSite is a server for ssh in a container, keys for it, and agents that have them.
type sshSite struct {
	b       *builder
	dir     string // keys, by user
	address string
	agents  map[string]string // sockets, by user
}

// newSSHSite starts the server, OpenSSH's own, with a git repository that only user git may read.
func newSSHSite(t *testing.T, b *builder) *sshSite {
	t.Helper()
	s := &sshSite{b: b, dir: t.TempDir(), agents: map[string]string{}}
	context := folder(t, "Dockerfile", sshImage, "root/etc/passwd", sshUsers, "ssh/rules", sshRules)
	b.Load("alpine") // its shell is linked with nothing that the programs of the host bring along
	for _, program := range []string{"/usr/bin/ssh", "/usr/bin/git", "/usr/sbin/sshd"} {
		copyProgram(t, filepath.Join(context, "root"), program)
	}
	for _, d := range []string{"ssh/keys", "srv"} {
		if err := os.MkdirAll(filepath.Join(context, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	s.keygen(t, filepath.Join(context, "ssh", "host"))
	for _, user := range []string{"git", "deploy"} {
		key := filepath.Join(s.dir, user)
		s.keygen(t, key)
		public, err := os.ReadFile(key + ".pub")
		if err == nil {
			err = os.WriteFile(filepath.Join(context, "ssh", "keys", user), public, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
		s.agents[user] = startAgent(t, key)
	}
	cloned := exec.Command("git", "clone", "-q", "--bare", filepath.Join(repository(t, folder(t, "Dockerfile", "FROM busybox\nCOPY f /f\nRUN cat /f\n", "f", "from the repository\n")), ".git"), filepath.Join(context, "srv", "repo.git"))
	if out, err := cloned.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	b.must(context, "", "cove", "build", "-t", "client", "--target", "client", ".")
	b.must(context, "", "cove", "build", "-t", "server", ".")
	b.Run("cove", "run", "-d", "--name", "ssh", "server")
	s.address = b.Run("cove", "inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", "ssh")
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		_, said, _ := b.Try("cove", "logs", "ssh")
		if strings.Contains(said, "Server listening") {
			return s
		}
		if time.Now().After(deadline) {
			t.Fatalf("the server does not listen:\n%s", said)
		}
	}
}

func (s *sshSite) keygen(t *testing.T, path string) {
	t.Helper()
	if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", path).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// startAgent runs OpenSSH's agent with one key until the test ends.
func startAgent(t *testing.T, key string) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "agent")
	cmd := exec.Command("ssh-agent", "-D", "-a", socket)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		add := exec.Command("ssh-add", "-q", key)
		add.Env = append(os.Environ(), "SSH_AUTH_SOCK="+socket)
		out, err := add.CombinedOutput()
		if err == nil {
			return socket
		}
		if time.Now().After(deadline) {
			t.Fatalf("%v\n%s", err, out)
		}
	}
}

// copyProgram copies a program of the host's with the libraries it is linked with, to below root.
func copyProgram(t *testing.T, root, path string) {
	t.Helper()
	if _, err := os.Stat(path); err != nil {
		t.Skipf("%s is not installed", path)
	}
	out, err := exec.Command("ldd", path).Output()
	if err != nil {
		t.Fatal(err)
	}
	files := append([]string{path}, regexp.MustCompile(`/\S+\.so\S*`).FindAllString(string(out), -1)...)
	for _, file := range files {
		to := filepath.Join(root, file)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("cp", "-L", file, to).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
}

// TestBuildSSH signs in to a real server, in steps and for sources, with keys that only the client's agents have.
func TestBuildSSH(t *testing.T) {
	t.Parallel()
	needDocker(t)
	b := newBuilder(t)
	s := newSSHSite(t, b)
	to := func(user string) string {
		return "ssh -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -o BatchMode=yes " + user + "@" + s.address
	}
	steps := folder(t, "Dockerfile", fmt.Sprintf(`FROM client
RUN --mount=type=ssh %s cat /srv/file >/default && git clone -q git@%s:/srv/repo.git /cloned && cat /default /cloned/f
RUN --mount=type=ssh,id=deploy,target=/agent,mode=0666,uid=5 stat -c '%%a %%u %%F' /agent && SSH_AUTH_SOCK=/agent %s id -un
RUN ! ls -d /run/buildkit /agent && ! env | grep SSH_AUTH
RUN --mount=type=ssh,id=none [ ! -e $SSH_AUTH_SOCK ]
`, to("git"), s.address, to("deploy")))
	need := folder(t, "Dockerfile", "FROM busybox\nRUN --mount=type=ssh,id=other,required true\n")
	clients := map[string][]string{"cove": {"cove", "build", "--progress=plain"}, "buildx": {"docker", "buildx", "build", "--progress=plain"}}
	for client, build := range clients {
		build = append(build, "--no-cache")
		out := b.must(steps, "", append(build[:len(build):len(build)], "--ssh", "default="+s.agents["git"], "--ssh", "deploy="+s.agents["deploy"], "-t", client+":ssh", ".")...)
		for _, words := range []string{"of the server", "from the repository", "666 5 socket", " deploy"} {
			if !strings.Contains(out, words) {
				t.Errorf("%s: no %q in\n%s", client, words, out)
			}
		}
		// A key from a file, the agent that the environment names, and the wrong one.
		b.must(steps, "", append(build, "--ssh", "default="+filepath.Join(s.dir, "git"), "--ssh", "deploy="+s.agents["deploy"], ".")...)
		if out, err := b.plugin(steps, "", append(build, "--ssh", "default="+s.agents["deploy"], "--ssh", "deploy="+s.agents["deploy"], ".")...); err == nil || !strings.Contains(out, "Permission denied (publickey)") {
			t.Errorf("%s with another's key: %v\n%s", client, err, out)
		}
		if out, err := b.plugin(need, "", append(build, "--ssh", "default="+s.agents["git"], ".")...); err == nil || !strings.Contains(out, `other`) || !strings.Contains(out, ">>> RUN --mount=type=ssh,id=other,required true") {
			t.Errorf("%s without an agent that is required: %v\n%s", client, err, out)
		}
		s.sources(t, client, build)
	}
	s.leavesNothing(t, steps)
}

// sources are fetched over ssh: the whole context, and by ADD.
func (s *sshSite) sources(t *testing.T, client string, build []string) {
	t.Helper()
	forwarded := []string{"--ssh", "default=" + s.agents["git"]}
	for _, url := range []string{"git@" + s.address + ":/srv/repo.git", "ssh://git@" + s.address + ":22/srv/repo.git#main"} {
		args := append(append(build[:len(build):len(build)], forwarded...), url)
		if out := s.b.must("", "", args...); !strings.Contains(out, "from the repository") {
			t.Errorf("%s, context %s:\n%s", client, url, out)
		}
	}
	added := fmt.Sprintf("FROM busybox\nADD git@%s:/srv/repo.git /src\nRUN cat /src/f\n", s.address)
	if out := s.b.must("", added, append(append(build[:len(build):len(build)], forwarded...), "-")...); !strings.Contains(out, "from the repository") {
		t.Errorf("%s, ADD:\n%s", client, out)
	}
	s.b.Run("cove", "builder", "prune", "-af")
	cmd := s.b.client(append(build[:len(build):len(build)], "ssh://git@"+s.address+"/srv/repo.git")...)
	cmd.Env = append(cmd.Env, "SSH_AUTH_SOCK=")
	if out, err := cmd.CombinedOutput(); err == nil || bytes.Contains(out, []byte("from the repository")) {
		t.Errorf("%s, a context without an agent: %v\n%s", client, err, out)
	} else {
		t.Logf("%s, a context without an agent: %s", client, out)
	}
}

// leavesNothing looks for the agents in what was built, and has the same steps found with other agents.
func (s *sshSite) leavesNothing(t *testing.T, steps string) {
	t.Helper()
	build := []string{"cove", "build", "--progress=plain", "--ssh", "deploy=" + s.agents["deploy"], "-t", "twice"}
	s.b.must(steps, "", append(build, "--ssh", "default="+s.agents["git"], ".")...)
	other := startAgent(t, filepath.Join(s.dir, "git"))
	if out := s.b.must(steps, "", append(build, "--ssh", "default="+other, ".")...); strings.Count(out, "CACHED") != 5 {
		t.Errorf("with another agent:\n%s", out)
	}
	saved := filepath.Join(t.TempDir(), "saved.tar")
	s.b.Run("cove", "save", "-o", saved, "twice")
	private, err := os.ReadFile(filepath.Join(s.dir, "git"))
	if err != nil {
		t.Fatal(err)
	}
	secret := strings.Split(string(private), "\n")[2] // within the base64 of the key itself
	for _, place := range []string{saved, s.b.DataRoot} {
		if out, err := exec.Command("grep", "-rlaF", "-e", secret, place).Output(); err == nil {
			t.Errorf("the key is in %s", out)
		}
	}
	if out := s.b.Run("cove", "run", "--rm", "twice", "find", "/", "-xdev", "-name", "*agent*"); out != "" {
		t.Errorf("in the image: %s", out)
	}
	if out := s.b.Run("cove", "history", "--no-trunc", "twice"); strings.Contains(out, s.dir) {
		t.Errorf("in the history: %s", out)
	}
}
