package test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// remapped is an engine whose daemon has an /etc of its own, with what is added to some files of it.
func remapped(t *testing.T, setting string, add map[string]string, args ...string) *Engine {
	t.Helper()
	needRoot(t)
	e := newEngine(t, append([]string{"--userns-remap", setting}, args...)...)
	etc := filepath.Join(e.Dir, "etc")
	if err := os.Mkdir(etc, 0o755); err != nil {
		t.Fatal(err)
	}
	script := "cp -a /etc/. " + etc
	for name, lines := range add {
		script += fmt.Sprintf(" && printf '%s' >>%s/%s", lines, etc, name)
	}
	// The mount is the daemon's and that of what it starts alone, and ends with them.
	e.Shell = fmt.Sprintf(`exec unshare -m sh -c "%s && mount --bind %s /etc && exec \"\$@\"" sh "$@"`, script, etc)
	return e
}

// steward is a user with subordinate numbers: its root is 100000:200000 outside.
var steward = map[string]string{
	"passwd": `steward:x:7777:7778::/:/bin/false\n`, "group": `steward:x:7778:\n`,
	"subuid": `other:7:9\nsteward:100000:65536\n`, "subgid": `7777:200000:65536\n`,
}

// ownerOf is who a file belongs to, in the host's numbers.
func ownerOf(t *testing.T, path string) string {
	t.Helper()
	var st syscall.Stat_t
	if err := syscall.Lstat(path, &st); err != nil {
		t.Fatal(path, err)
	}
	return fmt.Sprintf("%d:%d", st.Uid, st.Gid)
}

// openFolder is a folder that everybody may write to.
func openFolder(t *testing.T, e *Engine, name string) string {
	t.Helper()
	dir := filepath.Join(e.Dir, name)
	if err := os.Mkdir(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	return dir
}

// same fails the test unless a client's command prints this.
func same(t *testing.T, e *Engine, want string, args ...string) {
	t.Helper()
	if got := e.Run(args...); got != want {
		t.Errorf("%s: %q, want %q", strings.Join(args, " "), got, want)
	}
}

// refused fails the test unless a client's command ends with a status and says this.
func refused(t *testing.T, e *Engine, status int, says string, args ...string) {
	t.Helper()
	if _, stderr, code := e.Try(args...); code != status || !strings.Contains(stderr, says) {
		t.Errorf("%s: status %d, %s", strings.Join(args, " "), code, stderr)
	}
}

// TestUserNamespaces runs containers whose root is nobody outside, with the stock client.
func TestUserNamespaces(t *testing.T) {
	t.Parallel()
	e := remapped(t, "steward", steward)
	e.Start()
	e.Load("busybox", "alpine")
	if info := e.Run("docker", "info", "-f", "{{.SecurityOptions}}"); !strings.Contains(info, "name=userns") {
		t.Errorf("info shows %s", info)
	}
	for _, part := range []struct {
		name string
		test func(*testing.T, *Engine)
	}{
		{"numbers", userNumbers}, {"copies", userCopies}, {"apart", usersApart}, {"host", usersOfTheHost}, {"refused", usersRefused},
		{"daemon", usersOutliveTheDaemon}, {"networks", userNetworks}, {"shared", sharedUsers}, {"mounts", userMounts},
		{"processes", userProcesses}, {"builds", userBuilds}, {"snapshots", userSnapshots}, {"check", usersChecked},
	} {
		t.Run(part.name, func(t *testing.T) {
			whole := e.t
			e.t = t
			defer func() { e.t = whole }()
			part.test(t, e)
		})
	}
}

func userNumbers(t *testing.T, e *Engine) {
	host := openFolder(t, e, "numbers")
	e.Run("docker", "run", "-d", "--name", "n", "-v", host+":/host", "-v", "numbers:/vol", "busybox", "sh", "-c",
		"touch /mine /host/mine && touch /vol/mine /host/five && chown 5:6 /vol/mine /host/five && touch /ready && sleep 1000")
	e.Run("docker", "exec", "n", "sh", "-c", "until [ -e /ready ]; do sleep 0.1; done")
	same(t, e, "0:0 /mine\n0:0 /host/mine\n5:6 /host/five\n5:6 /vol/mine\n0:0 /vol\n0:0 /etc/hosts\n0:0 /dev/mqueue",
		"docker", "exec", "n", "stat", "-c", "%u:%g %n", "/mine", "/host/mine", "/host/five", "/vol/mine", "/vol", "/etc/hosts", "/dev/mqueue")
	same(t, e, "0 100000 65536 0 200000 65536", "docker", "exec", "n", "sh", "-c", "echo $(cat /proc/self/uid_map /proc/self/gid_map)")
	same(t, e, "uid=0(root) gid=0(root) groups=0(root),10(wheel)", "docker", "exec", "n", "id")
	same(t, e, "7 8", "docker", "exec", "--user", "7:8", "n", "sh", "-c", "echo $(id -u) $(id -g)")
	process := "/proc/" + e.Run("docker", "inspect", "-f", "{{.State.Pid}}", "n")
	volume := e.Run("docker", "volume", "inspect", "-f", "{{.Mountpoint}}", "numbers")
	for path, want := range map[string]string{
		process: "100000:200000", host + "/mine": "100000:200000", host + "/five": "100005:200006", // a bind has them as the kernel does
		volume: "0:0", volume + "/mine": "5:6", // a volume as the container does, and so has an image
	} {
		if got := ownerOf(t, path); got != want {
			t.Errorf("%s belongs to %s, want %s", path, got, want)
		}
	}
	same(t, e, "", "docker", "inspect", "-f", "{{.HostConfig.UsernsMode}}", "n")
	if top := e.Run("docker", "top", "n", "-o", "pid,uid,args"); !strings.Contains(top, "100000") {
		t.Errorf("top shows %s", top)
	}
}

func userCopies(t *testing.T, e *Engine) {
	host := openFolder(t, e, "copies")
	e.Run("docker", "run", "-d", "--name", "c", "-v", host+":/host", "-v", "copies:/vol", "busybox", "sh", "-c", "mkdir -p /d && touch /d/roots /d/fives && chown 5:6 /d/fives && touch /d/ready && sleep 1000")
	e.Run("docker", "exec", "c", "sh", "-c", "until [ -e /d/ready ]; do sleep 0.1; done")
	in := filepath.Join(e.Dir, "in")
	if err := os.WriteFile(in, []byte("in"), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(in, 33, 44); err != nil {
		t.Fatal(err)
	}
	list := func(args ...string) string {
		t.Helper()
		out, _, code := e.Try("sh", "-c", strings.Join(args, " ")+" | tar --numeric-owner -tv | awk '{print $2, $6}' | sort -k2")
		if code != 0 {
			t.Errorf("%v: %s", args, out)
		}
		return strings.Join(strings.Fields(out), " ")
	}
	check := func(state string) {
		t.Helper()
		if got, want := list("docker cp c:/d -"), "0/0 d/ 5/6 d/fives 0/0 d/ready 0/0 d/roots"; got != want {
			t.Errorf("copied while it is %s: %s, want %s", state, got, want)
		}
		if got := list("docker export c"); !strings.Contains(got, "5/6 d/fives") || strings.Contains(got, "100") {
			t.Errorf("exported while it is %s: %s", state, got)
		}
		for _, into := range []string{"/copied", "/vol/copied", "/host/copied"} {
			e.Run("docker", "cp", "-a", in, "c:"+into+state)
			if got := list("docker cp c:" + into + state + " -"); !strings.HasPrefix(got, "33/44 ") {
				t.Errorf("%s, copied in while it is %s: %s", into, state, got)
			}
		}
	}
	check("running")
	same(t, e, "33:44\n33:44", "docker", "exec", "c", "stat", "-c", "%u:%g", "/copiedrunning", "/vol/copiedrunning")
	e.Run("docker", "commit", "c", "committed")
	e.Run("docker", "stop", "-t", "0", "c")
	check("stopped")
	if diff := e.Run("docker", "diff", "c"); !strings.Contains(diff, "A /d/fives") || strings.Contains(diff, "/bin") {
		t.Errorf("diff: %s", diff)
	}
	for _, mode := range []string{"", "host"} {
		same(t, e, "5:6\n0:0\n0:0", "docker", "run", "--rm", "--userns", mode, "committed", "stat", "-c", "%u:%g", "/d/fives", "/d/roots", "/bin")
	}
	e.Run("docker", "start", "c")
	same(t, e, "33:44", "docker", "exec", "c", "stat", "-c", "%u:%g", "/copiedstopped")
	// A bind is shown with the container's numbers while there is one that has them.
	for state, want := range map[string]string{"running": "100033:200044", "stopped": "33:44"} {
		if got := ownerOf(t, host+"/copied"+state); got != want {
			t.Errorf("copied into a bind while it is %s, it belongs to %s, want %s", state, got, want)
		}
	}
}

func usersApart(t *testing.T, e *Engine) {
	host := openFolder(t, e, "apart")
	secret := filepath.Join(host, "secret")
	if err := os.WriteFile(secret, []byte("s"), 0o600); err != nil {
		t.Fatal(err)
	}
	refused(t, e, 1, "Permission denied", "docker", "run", "--rm", "-v", host+":/host", "busybox", "cat", "/host/secret")
	refused(t, e, 1, "Operation not permitted", "docker", "run", "--rm", "--cap-add", "ALL", "-v", host+":/host", "busybox", "chown", "0", "/host/secret")
	own, err := os.Readlink("/proc/self/ns/user")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{own: true}
	for range 2 {
		ns := e.Run("docker", "run", "-d", "busybox", "sleep", "1000")
		ns = e.Run("docker", "exec", ns, "readlink", "/proc/self/ns/user")
		if seen[ns] {
			t.Errorf("a container lives in %s, in which others live", ns)
		}
		seen[ns] = true
	}
}

func usersOfTheHost(t *testing.T, e *Engine) {
	host := openFolder(t, e, "ofhost")
	same(t, e, "0 0 4294967295", "docker", "run", "--rm", "--userns", "host", "-v", host+":/host", "-v", "shared:/vol", "busybox", "sh", "-c", "touch /host/x /vol/x; chown 3 /vol/x; echo $(cat /proc/self/uid_map)")
	if got := ownerOf(t, host+"/x"); got != "0:0" {
		t.Errorf("its file belongs to %s", got)
	}
	same(t, e, "3:0", "docker", "run", "--rm", "-v", "shared:/vol", "busybox", "stat", "-c", "%u:%g", "/vol/x")
	same(t, e, "0", "docker", "run", "--rm", "--userns", "host", "--privileged", "--network", "host", "--pid", "host", "busybox", "id", "-u")
	e.Run("docker", "create", "--name", "ofhost", "--userns", "host", "busybox")
	same(t, e, "host", "docker", "inspect", "-f", "{{.HostConfig.UsernsMode}}", "ofhost")
}

func usersRefused(t *testing.T, e *Engine) {
	for says, flag := range map[string]string{
		"privileged mode is incompatible with user namespaces.  You must run the container in the host namespace when running privileged mode": "--privileged",
		"cannot share the host's network namespace when user namespaces are enabled":                                                           "--network=host",
		"cannot share the host PID namespace when user namespaces are enabled":                                                                 "--pid=host",
		"option WritableCgroups conflicts with user namespaces":                                                                                "--security-opt=writable-cgroups=true",
		"invalid USER mode": "--userns=nix",
	} {
		refused(t, e, 125, says, "docker", "run", "--rm", flag, "busybox", "true")
	}
}

func usersOutliveTheDaemon(t *testing.T, e *Engine) {
	e.Run("docker", "run", "-d", "--name", "d", "--restart", "always", "busybox", "sh", "-c", "touch /before; sleep 1000")
	e.Kill()
	e.Start()
	same(t, e, "100000", "docker", "exec", "d", "sh", "-c", "set -- $(cat /proc/self/uid_map); echo $2")
	e.Run("docker", "cp", "/etc/hostname", "d:/copied")
	same(t, e, "0:0\n0:0", "docker", "exec", "d", "stat", "-c", "%u:%g", "/copied", "/before")
	e.Run("docker", "restart", "-t", "0", "d")
	same(t, e, "0:0\n0:0", "docker", "exec", "d", "stat", "-c", "%u:%g", "/copied", "/before")
	same(t, e, "100000", "docker", "exec", "d", "sh", "-c", "set -- $(cat /proc/self/uid_map); echo $2")
	// A process that dies is started again by the policy, in a namespace of its own again.
	e.Run("docker", "exec", "d", "touch", "/again")
	e.Run("sh", "-c", "kill -9 $(docker inspect -f '{{.State.Pid}}' d); until [ \"$(docker inspect -f '{{.RestartCount}} {{.State.Status}}' d)\" = '1 running' ]; do sleep 0.1; done")
	same(t, e, "0:0 100000", "docker", "exec", "d", "sh", "-c", "set -- $(cat /proc/self/uid_map); echo $(stat -c %u:%g /again) $2")
}

func userNetworks(t *testing.T, e *Engine) {
	port := freePorts(1)[0]
	e.Run("docker", "network", "create", "--subnet", e.Subnet+".0/24", "people")
	e.Run("docker", "run", "-d", "--name", "web", "--network", "people", "-p", fmt.Sprintf("127.0.0.1:%d:80", port), "--user", "9", "busybox", "sh", "-c", "mkdir /tmp/w; echo hello >/tmp/w/x; exec httpd -f -p 80 -h /tmp/w")
	same(t, e, "hello", "docker", "run", "--rm", "--network", "people", "busybox", "sh", "-c", "until wget -qO- http://web/x 2>/dev/null; do sleep 0.1; done")
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	e.Run("docker", "run", "--rm", "--network", "people", "busybox", "ping", "-c1", "-w9", "web")
	e.Run("docker", "run", "--rm", "--network", "people", "--user", "9", e.Run("docker", "images", "-q", "alpine"), "ping", "-c1", "-w9", "web")
	same(t, e, "1400", "docker", "run", "--rm", "--network", "none", "--cap-add", "NET_ADMIN", "busybox", "sh", "-c", "ip link set lo mtu 1400 && cat /sys/class/net/lo/mtu")
	e.Run("docker", "network", "connect", "bridge", "web")
	same(t, e, "eth0\neth1\nlo", "docker", "exec", "web", "ls", "/sys/class/net")
	same(t, e, "", "docker", "network", "disconnect", "people", "web")
}

func sharedUsers(t *testing.T, e *Engine) {
	e.Run("docker", "run", "-d", "--name", "first", "--ipc", "shareable", "busybox", "sh", "-c", "echo shared >/dev/shm/x; sleep 1000")
	same(t, e, "shared\n0:0\n1300", "docker", "run", "--rm", "--cap-add", "NET_ADMIN", "--network", "container:first", "--ipc", "container:first", "--pid", "container:first", "busybox", "sh", "-c",
		"cat /dev/shm/x; stat -c %u:%g /proc/1; ip link set lo mtu 1300; cat /sys/class/net/lo/mtu; ps | grep -q 'sleep 1000' || echo alone")
	same(t, e, "eth0\nlo", "docker", "run", "--rm", "--pid", "container:first", "busybox", "ls", "/sys/class/net")
	e.Run("docker", "run", "-d", "--name", "second", "busybox", "sleep", "1000")
	refused(t, e, 125, "different user namespaces", "docker", "run", "--rm", "--pid", "container:first", "--network", "container:second", "busybox", "true")
	e.Run("docker", "run", "-d", "--name", "plain", "--userns", "host", "busybox", "sleep", "1000")
	refused(t, e, 125, "unless with --userns=host", "docker", "run", "--rm", "--network", "container:plain", "busybox", "true")
	same(t, e, "1", "docker", "run", "--rm", "--userns", "host", "--network", "container:first", "--pid", "container:first", "busybox", "sh", "-c", "ls -d /proc/1 | wc -l")
	e.Run("docker", "run", "--rm", "--ipc", "host", "busybox", "true")
}

func userMounts(t *testing.T, e *Engine) {
	e.Run("docker", "build", "-q", "-t", "two", "--build-arg", "x=y", folderWith(t, e, "two", map[string]string{"Dockerfile": "FROM busybox\nRUN touch /fives && chown 5:6 /fives && chmod 600 /fives\n"}))
	same(t, e, "0:0 /one/bin\n0:0 /two/bin\n5:6 /two/fives", "docker", "run", "--rm", "--mount", "type=image,src=busybox,dst=/one", "--mount", "type=image,src=two,dst=/two", "two", "stat", "-c", "%u:%g %n", "/one/bin", "/two/bin", "/two/fives")
	same(t, e, "5:6 /fives", "docker", "run", "--rm", "two", "stat", "-c", "%u:%g %n", "/fives")
	same(t, e, "0:0 /t\n0:0 /t/x\n1:2 /u\n0:0 /dev/shm/y", "docker", "run", "--rm", "--tmpfs", "/t", "--tmpfs", "/u:uid=1,gid=2", "busybox", "sh", "-c", "touch /t/x /dev/shm/y; stat -c '%u:%g %n' /t /t/x /u /dev/shm/y")
	e.Run("docker", "volume", "create", "-o", "type=tmpfs", "-o", "device=tmpfs", "-o", "o=uid=3", "memory")
	same(t, e, "3:0\n0:0", "docker", "run", "--rm", "-v", "memory:/m", "busybox", "sh", "-c", "stat -c %u:%g /m; touch /m/x; stat -c %u:%g /m/x")
	// What an image has where an empty volume goes comes along with its owners.
	same(t, e, "5:6", "docker", "run", "--rm", "-v", "filled:/d", "committed", "stat", "-c", "%u:%g", "/d/fives")
	same(t, e, "5:6", "docker", "run", "--rm", "-v", "filled:/d", "busybox", "stat", "-c", "%u:%g", "/d/fives")
	host := openFolder(t, e, "bound")
	e.Run("docker", "volume", "create", "-o", "type=none", "-o", "o=bind", "-o", "device="+host, "bound")
	e.Run("docker", "run", "--rm", "-v", "bound:/b", "busybox", "touch", "/b/x")
	if got := ownerOf(t, host+"/x"); got != "100000:200000" {
		t.Errorf("in a volume that is a bind: %s", got)
	}
	refused(t, e, 1, "Read-only file system", "docker", "run", "--rm", "--read-only", "busybox", "touch", "/x")
	same(t, e, "b 7:0 1:7", "docker", "run", "--rm", "--device", "/dev/loop0:/dev/mine", "--device", "/dev/full", "busybox", "sh", "-c", "test -b /dev/mine && echo b $(stat -c '%t:%T' /dev/mine) $(stat -c '%t:%T' /dev/full)")
	same(t, e, "x", "docker", "run", "--rm", "busybox", "sh", "-c", "echo 1.2.3.4 x >>/etc/hosts && grep -o x /etc/hosts | tail -1")
}

func userProcesses(t *testing.T, e *Engine) {
	same(t, e, "/sbin/docker-init", "docker", "run", "--rm", "--init", "busybox", "sh", "-c", "tr '\\0' ' ' </proc/1/cmdline | cut -d' ' -f1")
	if out := e.Run("docker", "run", "--rm", "-t", "busybox", "sh", "-c", "stat -c %u $(tty); echo hi >/dev/tty; ls -l /dev/console"); !strings.HasPrefix(out, "0\r\nhi\r\n") {
		t.Errorf("a terminal: %q", out)
	}
	e.Run("docker", "run", "-d", "--name", "sound", "--health-cmd", "test $(id -u) = 0", "--health-interval", "100ms", "busybox", "sleep", "1000")
	e.Run("sh", "-c", "until [ $(docker inspect -f '{{.State.Health.Status}}' sound) = healthy ]; do sleep 0.1; done")
	same(t, e, "67108864", "docker", "run", "--rm", "-m", "64m", "busybox", "cat", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
	same(t, e, "2000", "docker", "run", "--rm", "--ulimit", "nofile=2000:3000", "--oom-score-adj", "200", "busybox", "sh", "-c", "ulimit -n")
	same(t, e, "box", "docker", "run", "--rm", "-h", "box", "busybox", "hostname")
	refused(t, e, 127, "executable file not found", "docker", "run", "--rm", "busybox", "nosuch")
	refused(t, e, 125, "user 70000:0 is not mapped", "docker", "run", "--rm", "--user", "70000", "busybox", "true")
}

func userBuilds(t *testing.T, e *Engine) {
	dir := folderWith(t, e, "built", map[string]string{"Dockerfile": "FROM busybox\nRUN touch /roots\nCOPY --chown=5:6 x /fives\n", "x": "x"})
	e.Run("docker", "build", "-q", "-t", "built", dir)
	same(t, e, "0:0\n5:6", "docker", "run", "--rm", "built", "stat", "-c", "%u:%g", "/roots", "/fives")
	e.Run("sh", "-c", "DOCKER_BUILDKIT=0 docker build -q -t old "+dir)
	same(t, e, "0:0\n5:6", "docker", "run", "--rm", "old", "stat", "-c", "%u:%g", "/roots", "/fives")
}

// TestUsersOfOtherDaemons starts containers that a daemon without user namespaces has made, and the other way round; and has other
// runtimes refuse what they cannot give.
func TestUsersOfOtherDaemons(t *testing.T) {
	e := remapped(t, "7777", map[string]string{"passwd": steward["passwd"], "group": steward["group"] + `rest:x:7777:\n`, "subuid": steward["subuid"], "subgid": steward["subgid"]}, "--add-runtime", "other=/bin/false")
	args := e.Args
	e.Args = args[:len(args)-4]
	e.Start()
	e.Load("busybox")
	for name, flag := range map[string]string{"plain": "--init=false", "mighty": "--privileged"} {
		e.Run("docker", "run", "-d", "--name", name, flag, "-v", name+":/vol", "busybox", "sh", "-c", "touch /x /vol/x; sleep 1000")
	}
	e.Run("docker", "exec", "plain", "sh", "-c", "until [ -e /vol/x ]; do sleep 0.1; done")
	e.Stop()
	e.Args = args
	e.Start()
	same(t, e, "0", "docker", "exec", "mighty", "sh", "-c", "set -- $(cat /proc/self/uid_map); echo $2")
	refused(t, e, 1, "privileged mode is incompatible with user namespaces", "docker", "restart", "-t", "0", "mighty")
	e.Run("docker", "restart", "-t", "0", "plain")
	same(t, e, "100000 0:0 0:0", "docker", "exec", "plain", "sh", "-c", "set -- $(cat /proc/self/uid_map); echo $2 $(stat -c %u:%g /x /vol/x)")
	refused(t, e, 125, "only Cove's own runtime", "docker", "run", "--rm", "--runtime", "other", "busybox", "true")
	e.Stop()
	e.Args = args[:len(args)-4]
	e.Start()
	same(t, e, "100000", "docker", "exec", "plain", "sh", "-c", "set -- $(cat /proc/self/uid_map); echo $2")
	e.Run("docker", "restart", "-t", "0", "plain")
	same(t, e, "0 0:0 0:0", "docker", "exec", "plain", "sh", "-c", "set -- $(cat /proc/self/uid_map); echo $2 $(stat -c %u:%g /x /vol/x)")
}

// TestUsersOfDefault has the daemon make the user whose numbers containers get, and finds it again.
func TestUsersOfDefault(t *testing.T) {
	if _, err := exec.LookPath("usermod"); err != nil {
		t.Skip("needs useradd and usermod")
	}
	e := remapped(t, "default", map[string]string{"subuid": `other:100000:65536\n`, "subgid": `other:100000:65536\n`})
	e.Start()
	e.Load("busybox")
	e.Run("docker", "run", "-d", "--name", "x", "busybox", "sleep", "1000")
	same(t, e, "165536", "docker", "exec", "x", "sh", "-c", "set -- $(cat /proc/self/uid_map); echo $2")
	for file, want := range map[string]string{"passwd": "dockremap:", "group": "dockremap:", "subuid": "dockremap:165536:65536", "subgid": "dockremap:165536:65536"} {
		if text, err := os.ReadFile(filepath.Join(e.Dir, "etc", file)); err != nil || !strings.Contains(string(text), "\n"+want) {
			t.Errorf("%s has no %s: %v\n%s", file, want, err, text)
		}
	}
	e.Kill()
	e.Shell = strings.Replace(e.Shell, "cp -a /etc/. ", "true ", 1)
	e.Shell = e.Shell[:strings.Index(e.Shell, " && printf")] + e.Shell[strings.Index(e.Shell, " && mount"):]
	e.Start()
	e.Run("docker", "restart", "-t", "0", "x")
	same(t, e, "165536", "docker", "exec", "x", "sh", "-c", "set -- $(cat /proc/self/uid_map); echo $2")
}

// TestUsersThatAreNot starts daemons with settings that mean nobody.
func TestUsersThatAreNot(t *testing.T) {
	for setting, says := range map[string]string{
		"nosuchuser": `Error during uid lookup for "nosuchuser"`, "steward:nosuchgroup": `Error during gid lookup for "nosuchgroup"`,
		"424242": "Uid 424242 has no entry in /etc/passwd", "7777": "Gid 7777 has no entry in /etc/group", "7777:424242": "Gid 424242 has no entry",
		"a:b:c": "Invalid user/group specification in --userns-remap", "daemon": `no subuid ranges found for user "daemon"`,
	} {
		e := remapped(t, setting, steward)
		err := e.TryStart()
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", setting, err)
		}
		if err != nil {
			e.daemon, e.finished = nil, true
			os.RemoveAll(e.Dir)
		}
	}
	e := remapped(t, "root", steward)
	e.Start()
	if info := e.Run("docker", "info", "-f", "{{.SecurityOptions}}"); strings.Contains(info, "userns") {
		t.Errorf("info shows %s", info)
	}
}

func userSnapshots(t *testing.T, e *Engine) {
	e.Run("docker", "run", "-d", "--name", "s", "busybox", "sh", "-c", "touch /first; sleep 1000")
	e.Run("docker", "exec", "s", "sh", "-c", "until [ -e /first ]; do sleep 0.1; done; chown 5:6 /first")
	e.Run("cove", "snapshot", "create", "s", "one")
	e.Run("docker", "exec", "s", "sh", "-c", "chown 7:8 /first; touch /second")
	e.Run("docker", "restart", "-t", "0", "s")
	same(t, e, "0:0", "docker", "exec", "s", "stat", "-c", "%u:%g", "/second")
	e.Run("docker", "stop", "-t", "0", "s")
	e.Run("cove", "snapshot", "rollback", "s", "one")
	e.Run("docker", "start", "s")
	same(t, e, "5:6", "docker", "exec", "s", "stat", "-c", "%u:%g", "/first")
	refused(t, e, 1, "No such file", "docker", "exec", "s", "stat", "/second")
	e.Run("cove", "commit", "--snapshot", "one", "s", "snapped")
	same(t, e, "5:6", "docker", "run", "--rm", "snapped", "stat", "-c", "%u:%g", "/first")
}

// usersChecked holds everything the other parts have left against what the engine knows of it.
func usersChecked(t *testing.T, e *Engine) {
	if out, stderr, code := e.Try("cove", "system", "check", "--deep"); code != 0 {
		t.Errorf("status %d: %s%s", code, out, stderr)
	}
}

// folderWith is a folder with these files.
func folderWith(t *testing.T, e *Engine, name string, files map[string]string) string {
	t.Helper()
	dir := openFolder(t, e, name)
	for file, text := range files {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
