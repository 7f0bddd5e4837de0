package test

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestContexts: what one command line has written of contexts the other one reads, and both say the same.
func TestContexts(t *testing.T) {
	if len(clients()) < 2 {
		t.Skip("the stock docker client is not installed")
	}
	bin, err := binaries()
	if err != nil {
		t.Fatal(err)
	}
	pems := identity(t)
	work := t.TempDir()
	call := func(config string, args ...string) string {
		cmd := exec.Command(args[0], args[1:]...)
		if args[0] == "cove" {
			cmd = exec.Command(filepath.Join(bin, "cove"), args[1:]...)
		}
		cmd.Dir = work
		cmd.Env = append(os.Environ(), "DOCKER_CONFIG="+config, "COVE_CONFIG=", "DOCKER_HOST=", "COVE_HOST=", "DOCKER_CONTEXT=", "COVE_CONTEXT=")
		out, _ := cmd.CombinedOutput()
		return fmt.Sprintf("%s[%d]", strings.ReplaceAll(string(out), config, "CONFIG"), cmd.ProcessState.ExitCode())
	}
	daemon := "host=tcp://h:2376,ca=" + pems + "/ca.pem,cert=" + pems + "/cert.pem,key=" + pems + "/key.pem"
	session := [][]string{
		{"create", "far", "--description", "far away", "--docker", daemon},
		{"create", "far"},
		{"create", "x"},
		{"create", "default"},
		{"create", "a b"},
		{"create", "bad", "--docker", "nonsense=1"},
		{"create", "bad", "--docker", "host=tcp://h:1,ca=/nowhere/ca.pem"},
		{"create", "bad", "--docker", "host=tcp://h:1,skip-tls-verify=perhaps"},
		{"create", "bad", "--docker", "host=tcp://h:1", "--from", "far"},
		{"create", "bad", "--from", "missing"},
		{"create", "open", "--docker", "host=tcp://h:1,skip-tls-verify=true"},
		{"create", "copy", "--from", "far", "--description", "a copy"},
		{"create", "again", "--docker", "from=far"},
		{"create", "by-ssh", "--docker", "host=ssh://me@h:22"},
		{"inspect", "far", "copy", "open"}, // and not "again", which docker has forget the certificates
		{"inspect", "-f", "{{.Name}} {{.Endpoints.docker.Host}}", "far"},
		{"inspect", "missing"},
		{"update", "again", "--description", "new"},
		{"update", "again", "--docker", "host=tcp://other:1"},
		{"update", "missing", "--description", "new"},
		{"update", "default", "--description", "new"},
		{"use", "far"},
		{"show"},
		{"create", "of-current"},
		{"inspect", "again", "of-current"},
		{"ls", "-q"},
		{"export", "far"},
		{"export", "far"},
		{"export", "missing", "-"},
		{"import", "back", "far.dockercontext"},
		{"import", "back", "far.dockercontext"},
		{"import", "none", "missing.dockercontext"},
		{"inspect", "back"},
		{"use", "missing"},
		{"rm", "far", "missing", "open"},
		{"rm", "default"},
		{"rm", "-f", "far", "missing"},
		{"show"},
		{"ls", "-q"},
	}
	configs := map[string]string{}
	said := map[string][]string{}
	for _, client := range clients() {
		configs[client] = filepath.Join(t.TempDir(), "config")
		for _, line := range session {
			said[client] = append(said[client], call(configs[client], append([]string{client, "context"}, line...)...))
		}
		os.Remove(filepath.Join(work, "far.dockercontext"))
	}
	for i, line := range session {
		if ours, theirs := said["cove"][i], said["docker"][i]; ours != theirs {
			t.Errorf("context %s\n%s", strings.Join(line, " "), differing(ours, theirs))
		}
	}
	if ours, theirs := tree(t, configs["cove"]), tree(t, configs["docker"]); ours != theirs {
		t.Errorf("what is kept\n%s", differing(ours, theirs))
	}
	for from, to := range map[string]string{"cove": "docker", "docker": "cove"} {
		call(configs[from], from, "context", "export", "copy", "taken")
		call(configs[to], to, "context", "import", "brought", "taken")
		os.Remove(filepath.Join(work, "taken"))
	}
	if ours, theirs := tree(t, configs["cove"]), tree(t, configs["docker"]); ours != theirs || !strings.Contains(ours, `"Name":"brought"`) {
		t.Errorf("after an exchange\n%s", differing(ours, theirs))
	}
	for _, by := range []string{"cove", "docker"} {
		for _, line := range [][]string{{"inspect", "copy", "again", "back"}, {"ls", "--format", "json"}} {
			args := append([]string{"context"}, line...)
			if ours, theirs := call(configs[by], append([]string{"cove"}, args...)...), call(configs[by], append([]string{"docker"}, args...)...); strings.ReplaceAll(ours, "/run/cove/cove.sock", "/var/run/docker.sock") != theirs {
				t.Errorf("%s of what %s has written\n%s", line, by, differing(ours, theirs))
			}
		}
	}
}

// differing gives the lines that only one of two texts has.
func differing(ours, theirs string) string {
	var b strings.Builder
	for _, side := range []struct{ name, all, other string }{{"cove", ours, theirs}, {"docker", theirs, ours}} {
		for line := range strings.Lines(side.all) {
			if !strings.Contains(side.other, line) {
				fmt.Fprintf(&b, "%s: %q\n", side.name, line)
			}
		}
	}
	return b.String()
}

// tree lists the files below dir with their modes and contents.
func tree(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		if name == "config.json" {
			return nil
		}
		fmt.Fprintf(&b, "%s %s", name, info.Mode())
		if info.Mode().IsRegular() {
			raw, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			var compact any
			if json.Unmarshal(raw, &compact) == nil {
				raw, _ = json.Marshal(compact)
			}
			fmt.Fprintf(&b, " %s", raw)
		}
		b.WriteByte('\n')
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestContextsReach: both command lines come to a daemon by a context that the other one has made, over TLS and over ssh; contexts
// that lead nowhere say so.
func TestContextsReach(t *testing.T) {
	needRoot(t)
	images(t)
	pems := identity(t)
	addr := fmt.Sprintf("tcp://127.0.0.1:%d", freePorts(1)[0])
	e := newEngine(t, "-H", addr, "--tlsverify", "--tlscacert", pems+"/ca.pem", "--tlscert", pems+"/cert.pem", "--tlskey", pems+"/key.pem")
	e.Start()
	e.Load("busybox")
	here := func(args ...string) *exec.Cmd {
		cmd := e.Command(args...)
		cmd.Env = append(cmd.Env, "DOCKER_CONFIG="+e.Dir+"/config", "COVE_CONFIG=", "COVE_HOST=", "DOCKER_HOST=")
		return cmd
	}
	for _, client := range clients() {
		for name, host := range map[string]string{
			"tls": "host=" + addr + ",ca=" + pems + "/ca.pem,cert=" + pems + "/cert.pem,key=" + pems + "/key.pem", "unix": "host=" + e.Socket(),
			"gone": "host=unix://" + e.Dir + "/nobody.sock", "refused": "host=tcp://127.0.0.1:1", "unsure": "host=" + addr, "odd": "host=pigeon://x",
		} {
			if out, err := here(client, "context", "create", client+"-"+name, "--docker", host).CombinedOutput(); err != nil {
				t.Fatalf("%s: %v: %s", name, err, out)
			}
		}
	}
	for _, client := range clients() {
		for _, by := range clients() {
			for _, name := range []string{"tls", "unix"} {
				cmd := here(client, "--context", by+"-"+name, "run", "-i", "--rm", "busybox", "cat")
				cmd.Stdin = strings.NewReader("through")
				if out, err := cmd.Output(); err != nil || string(out) != "through" {
					t.Errorf("%s by %s's %s: %q %v", client, by, name, out, err)
				}
			}
		}
	}
	for name, want := range map[string]string{
		"gone":    "Cannot connect to the Cove daemon at unix://" + e.Dir + "/nobody.sock. Is the cove daemon running?\n",
		"refused": "Cannot connect to the Cove daemon at tcp://127.0.0.1:1. Is the cove daemon running?\n",
		"odd":     "unsupported protocol in daemon address `pigeon://x`\n",
		"unsure":  "Client sent an HTTP request to an HTTPS server",
	} {
		out, err := here("cove", "--context", "cove-"+name, "ps").CombinedOutput()
		if err == nil || !strings.Contains(string(out), want) {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}

// sshd is OpenSSH's server on loopback, in a mount namespace where /run is its own; it lets the user who runs the test in by a key
// made for it. Sessions find the programs of far in PATH. What is given is the folder of an ssh that knows how to sign in there.
func sshd(t *testing.T, e *Engine, far string) (port int, client string) {
	t.Helper()
	server := "/usr/sbin/sshd"
	if _, err := os.Stat(server); err != nil {
		t.Skip("Debian's openssh-server is not installed")
	}
	ssh, err := exec.LookPath("ssh")
	if err != nil {
		t.Skip("Debian's openssh-client is not installed")
	}
	dir := filepath.Join(e.Dir, "ssh")
	client = filepath.Join(dir, "bin")
	if err := os.MkdirAll(client, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"host", "user"} {
		if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(dir, key)).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	port = freePorts(1)[0]
	hostKey, err := os.ReadFile(filepath.Join(dir, "host.pub"))
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"sshd_config": fmt.Sprintf("ListenAddress 127.0.0.1\nPort %d\nHostKey %s/host\nAuthorizedKeysFile %s/user.pub\nStrictModes no\nUsePAM no\nPidFile none\n"+
			"PermitRootLogin prohibit-password\nSetEnv PATH=%s:/usr/bin:/bin COVE_HOST=%s HOME=%s\n", port, dir, dir, far, e.Socket(), dir),
		"ssh_config": fmt.Sprintf("IdentityFile %s/user\nIdentitiesOnly yes\nUserKnownHostsFile %s/known\nBatchMode yes\n", dir, dir),
		"known":      fmt.Sprintf("[127.0.0.1]:%d %s", port, hostKey),
		"bin/ssh":    fmt.Sprintf("#!/bin/sh\nexec %s -F %s/ssh_config \"$@\"\n", ssh, dir),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("unshare", "--mount", "sh", "-c", `mount -t tmpfs sshd /run && mkdir -m 0755 /run/sshd && exec "$0" "$@"`, server, "-D", "-e", "-f", filepath.Join(dir, "sshd_config"))
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop := func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
		log.Close()
		if t.Failed() {
			raw, _ := os.ReadFile(log.Name())
			t.Logf("sshd: %s", raw)
		}
	}
	t.Cleanup(stop)
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			conn.Close()
			return port, client
		}
	}
	t.Fatal("sshd does not answer")
	return 0, ""
}

// TestSSH: a daemon is reached through a real sshd, whether the other host has cove or only what is called docker there, by ours and
// by the stock client, with streams, builds and copies.
func TestSSH(t *testing.T) {
	t.Parallel()
	needRoot(t)
	images(t)
	e := newEngine(t)
	e.Start()
	e.Load("busybox")
	far := filepath.Join(e.Dir, "far")
	if err := os.Mkdir(far, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(e.Bin, "cove"), filepath.Join(far, "docker")); err != nil {
		t.Fatal(err)
	}
	port, ssh := sshd(t, e, far)
	addr := fmt.Sprintf("ssh://root@127.0.0.1:%d", port)
	here := func(args ...string) *exec.Cmd {
		cmd := e.Command(args...)
		cmd.Env = append(cmd.Env, "PATH="+ssh+":"+e.Bin+":"+os.Getenv("PATH"), "COVE_HOST=", "DOCKER_HOST="+addr, "DOCKER_BUILDKIT=0")
		return cmd
	}
	try := func(stdin string, want string, args ...string) {
		t.Helper()
		cmd := here(args...)
		cmd.Stdin = strings.NewReader(stdin)
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), want) {
			t.Errorf("%q: %v: %s", args, err, out)
		}
	}
	context := t.TempDir()
	for name, text := range map[string]string{"Dockerfile": "FROM busybox\nCOPY f /f\nRUN cat /f > /g\n", "f": "from here"} {
		if err := os.WriteFile(filepath.Join(context, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, link := range []string{"docker", "cove"} { // what the other host has
		for _, client := range clients() {
			if link == "cove" && client == "docker" {
				continue
			}
			try("", "API version", client, "version")
			try("", "busybox", client, "images")
			try("through and back", "through and back", client, "run", "-i", "--rm", "busybox", "cat")
			try("", "from here", client, "run", "--rm", "-v", context+":/c:ro", "busybox", "cat", "/c/f")
			try("", "", client, "build", "-t", client, context)
			try("", "from here", client, "run", "--rm", client, "cat", "/g")
			try("", "", client, "create", "--name", "box", "busybox", "cat", "/copied")
			try("", "", client, "cp", filepath.Join(context, "f"), "box:/copied")
			try("", "from here", client, "start", "-a", "box")
			try("", "from here", client, "logs", "box")
			try("", "box", client, "rm", "box")
		}
		if link == "docker" {
			if err := os.Rename(filepath.Join(far, "docker"), filepath.Join(far, "cove")); err != nil {
				t.Fatal(err)
			}
		}
	}
	try("", "busybox", "cove", "-H", addr+strings.TrimPrefix(e.Socket(), "unix://"), "images")
	cmd := here("cove", "run", "busybox", "sh", "-c", "exit 7")
	if err := cmd.Run(); cmd.ProcessState.ExitCode() != 7 {
		t.Error(err)
	}
	for what, args := range map[string][]string{
		"Connection refused":                          {"cove", "-H", "ssh://root@127.0.0.1:1", "ps"},
		"Permission denied":                           {"cove", "-H", fmt.Sprintf("ssh://nobody@127.0.0.1:%d", port), "ps"},
		"Is the cove daemon running?":                 {"cove", "-H", addr + "/nobody.sock", "ps"},
		"Make sure that `ssh` signs in there without": {"cove", "-H", fmt.Sprintf("ssh://nobody@127.0.0.1:%d", port), "exec", "x", "true"},
	} {
		out, err := here(args...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), what) {
			t.Errorf("%q: %v: %s", args, err, out)
		}
	}
}
