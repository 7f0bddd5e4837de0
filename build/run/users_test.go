package run

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/containerd/errdefs"
	gwclient "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cove-containers/cove/build/step"
	"github.com/cove-containers/cove/layer"
	"github.com/cove-containers/cove/spec"
)

// ownUsers in the environment has the steps of a test live in user namespaces of their own.
const ownUsers = "COVE_TEST_OWN_USERS"

// usersOf is how those are numbered.
func usersOf(own bool) *spec.Users {
	if !own {
		return nil
	}
	return &spec.Users{
		Users:  []specs.LinuxIDMapping{{ContainerID: 0, HostID: 100000, Size: 65536}},
		Groups: []specs.LinuxIDMapping{{ContainerID: 0, HostID: 200000, Size: 65536}},
	}
}

// TestInUserNamespaces does in user namespaces what is the same there.
func TestInUserNamespaces(t *testing.T) {
	t.Setenv(ownUsers, "1")
	for name, test := range map[string]func(*testing.T){
		"Run": TestRun, "Loud": TestLoud, "NothingChanges": TestNothingChanges, "Secrets": TestSecrets, "Agent": TestAgent, "Binds": TestBinds,
		"CacheMounts": TestCacheMounts, "ImportedCacheMounts": TestImportedCacheMounts, "LockedCache": TestLockedCache, "Tmpfs": TestTmpfs,
		"Container": TestContainer, "ContainerEnds": TestContainerEnds,
	} {
		t.Run(name, test)
	}
}

// owners lists what the topmost layer of a pile changes, with whom it belongs to, and digests all of it.
func (k *kit) owners(p layer.Pile) (list string, digest [sha256.Size]byte) {
	k.t.Helper()
	var b bytes.Buffer
	if err := k.layers.PackPile(context.Background(), &b, p, 1); err != nil {
		k.t.Fatal(err)
	}
	digest = sha256.Sum256(b.Bytes())
	for in := tar.NewReader(&b); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return strings.TrimSpace(list), digest
		}
		if err != nil {
			k.t.Fatal(err)
		}
		list += fmt.Sprintf(" %s=%d:%d", h.Name, h.Uid, h.Gid)
	}
}

// TestOwners makes the same layers in the host's user namespace and in one of the step's own, where nobody is somebody outside; each goes on
// with what the other has left.
func TestOwners(t *testing.T) {
	k := newKit(t, t.TempDir(), true)
	make := shell(`mkdir /d; touch /d/roots /d/fives; chown 5:6 /d/fives; chmod 4751 /d/fives; ln -s x /d/link; mknod /d/pipe p
chown -h 7:8 /d/link; rm /bin/ash; rm -r /var/spool; mkdir /var/spool; chown 9 /home; stat -c %u:%g /d/* /bin/cat /r/cat /etc/hosts; cat /proc/self/uid_map
echo 1 >>/c/n; stat -c %u:%g /c/n`, cacheMount("c", "/c", pb.CacheSharingOpt_SHARED), &pb.Mount{Input: 0, Selector: "/bin", Dest: "/r", Readonly: true, Output: -1})
	further := shell(`id -u; stat -c %u:%g /d/fives /c/n; echo 2 >>/d/fives; chown 1:2 /d/roots 2>/dev/null; (echo 2 >>/c/n) 2>/dev/null || echo denied`,
		cacheMount("c", "/c", pb.CacheSharingOpt_SHARED))
	further.Meta.User = "5:6"
	further.Network = pb.NetMode_UNSET
	type result struct {
		list, out string
		digest    [sha256.Size]byte
	}
	var was []result
	for _, own := range []bool{false, true, true, false} {
		k.parts.Config.Users = usersOf(own)
		pile, out := k.run(make)
		list, digest := k.owners(pile)
		wantMap := "         0          0 4294967295\n"
		if own {
			wantMap = "         0     100000      65536\n"
		}
		if want := "5:6\n7:8\n0:0\n0:0\n0:0\n0:0\n0:0\n" + wantMap + "0:0\n"; out != want {
			t.Errorf("printed %q, want %q", out, want)
		}
		was = append(was, result{list, "", digest})
		k.parts.Config.Users = usersOf(!own)
		pile, out = k.run(further, pile)
		list, digest = k.owners(pile)
		was = append(was, result{list, out, digest})
	}
	want := []string{
		"bin/=0:0 bin/.wh.ash=0:0 d/=0:0 d/fives=5:6 d/link=7:8 d/pipe=0:0 d/roots=0:0 home/=9:65534 var/=0:0 var/spool/=0:0 var/spool/.wh..wh..opq=0:0",
		"d/=0:0 d/fives=5:6",
	}
	for i, r := range was {
		if r.list != want[i%2] || r.digest != was[i%2].digest {
			t.Errorf("step %d has left %s, %x; want %s, %x", i, r.list, r.digest, want[i%2], was[i%2].digest)
		}
		if i%2 == 1 && r.out != "5\n5:6\n0:0\ndenied\n" {
			t.Errorf("step %d printed %q", i, r.out)
		}
	}
	k.nothingLeft()
}

// TestUsersOutside looks at a process and its files from outside, and through the container it is in.
func TestUsersOutside(t *testing.T) {
	t.Setenv(ownUsers, "1")
	k := newKit(t, t.TempDir(), true)
	c, err := k.NewContainer(t.Context(), k.env, gwclient.NewContainerRequest{Mounts: []gwclient.Mount{{Dest: "/"}, {Dest: "/w"}}}, map[int]step.Ref{0: {Pile: k.base}, 1: {Pile: k.base}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Release(context.Background()) }()
	if _, err := c.Start(t.Context(), gwclient.StartRequest{Args: []string{"sleep", "1000"}}); err != nil {
		t.Fatal(err)
	}
	process := fmt.Sprintf("/proc/%d", c.(*container).running.Pid())
	var st syscall.Stat_t
	if err := syscall.Stat(process, &st); err != nil || st.Uid != 100000 || st.Gid != 200000 {
		t.Errorf("the process belongs to %d:%d, %v", st.Uid, st.Gid, err)
	}
	for _, kind := range []string{"user", "net", "mnt", "pid", "ipc", "uts", "cgroup"} {
		its, err := os.Readlink(process + "/ns/" + kind)
		host, _ := os.Readlink("/proc/self/ns/" + kind)
		if err != nil || its == host {
			t.Errorf("its %s namespace is the host's: %v", kind, err)
		}
	}
	var out sink
	second, err := c.Start(t.Context(), gwclient.StartRequest{
		Args: []string{"sh", "-c", "echo 1 >/fives; chown 5:6 /fives; chmod 640 /fives; touch /w/mine; cat /proc/self/uid_map; ls /sys/class/net | tr '\\n' ' '; ip link set lo mtu 1400 2>/dev/null || echo denied"}, Stdout: &out,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Wait(); err != nil || out.String() != "         0     100000      65536\neth0 lo denied\n" {
		t.Errorf("%v, %q", err, out.String())
	}
	stat, err := c.StatFile(t.Context(), gwclient.StatContainerRequest{StatRequest: gwclient.StatRequest{Path: "/fives"}})
	if err != nil || stat.Uid != 5 || stat.Gid != 6 {
		t.Error(stat, err)
	}
	if raw, err := c.ReadFile(t.Context(), gwclient.ReadContainerRequest{ReadRequest: gwclient.ReadRequest{Filename: "/fives"}}); err != nil || string(raw) != "1\n" {
		t.Errorf("%q, %v", raw, err)
	}
	for at, want := range map[int]string{0: "fives=5:6", 1: "mine=0:0"} {
		list, err := c.ReadDir(t.Context(), gwclient.ReadDirContainerRequest{ReadDirRequest: gwclient.ReadDirRequest{Path: "/"}, MountIndex: at})
		if err != nil {
			t.Fatal(err)
		}
		var all []string
		for _, st := range list {
			all = append(all, fmt.Sprintf("%s=%d:%d", st.Path, st.Uid, st.Gid))
		}
		if got := strings.Join(all, " "); !strings.Contains(got, want) || !strings.Contains(got, "bin=0:0") {
			t.Errorf("mount %d holds %s", at, got)
		}
	}
	if err := c.Release(t.Context()); err != nil {
		t.Error(err)
	}
	k.nothingLeft()
}

// TestOwnUsersRefused asks for what no user namespace of one's own can have.
func TestOwnUsersRefused(t *testing.T) {
	t.Setenv(ownUsers, "1")
	k := newKit(t, t.TempDir(), false)
	const network = "cannot share the host's network namespace when user namespaces are enabled"
	const privileged = "privileged mode is incompatible with user namespaces"
	refused := func(what string, err error, want string) {
		t.Helper()
		if !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", what, err, want)
		}
	}
	exec := shell("true")
	exec.Network = pb.NetMode_HOST
	_, err := k.try(exec)
	refused("the host's network", err, network)
	k.env.Limits = &step.Limits{NetworkMode: "host"}
	exec.Network = pb.NetMode_UNSET
	_, err = k.try(exec)
	refused("the host's network, by the client", err, network)
	k.env.Limits = nil
	exec = shell("true")
	exec.Security = pb.SecurityMode_INSECURE
	_, err = k.try(exec)
	refused("all rights", err, privileged)
	_, err = k.NewContainer(t.Context(), k.env, gwclient.NewContainerRequest{Mounts: []gwclient.Mount{{Dest: "/"}}, NetMode: pb.NetMode_HOST}, map[int]step.Ref{0: {Pile: k.base}})
	refused("a container on the host's network", err, network)
	_, err = k.container(t.Context()).Start(t.Context(), gwclient.StartRequest{Args: []string{"true"}, SecurityMode: pb.SecurityMode_INSECURE})
	refused("a process with all rights", err, privileged)
	k.client(map[string][]byte{"s": []byte("x")})
	mount := secretMount("s", "/s", false)
	mount.SecretOpt.Uid = 70000
	_, err = k.try(shell("true", mount))
	refused("a secret of somebody who is not there", err, "user 70000:0 is not mapped")
}
