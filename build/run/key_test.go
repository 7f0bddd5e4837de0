package run

import (
	"context"
	"testing"

	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"

	"github.com/cove-containers/cove/build/step"
)

func keyOf(t *testing.T, exec *pb.ExecOp, inputs int, v step.Vertex) step.Key {
	t.Helper()
	o, err := (&Runner{}).Op(&pb.Op{Inputs: make([]*pb.Input, inputs)}, exec, v)
	if err != nil {
		t.Fatal(err)
	}
	key, err := o.Key(context.Background(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestKey(t *testing.T) {
	amd64 := step.Vertex{Platform: &pb.Platform{OS: "linux", Architecture: "amd64"}}
	mounted := func() *pb.ExecOp {
		return shell("x", &pb.Mount{Input: 1, Selector: "/a", Dest: "/m", Readonly: true, Output: -1}, cacheMount("id", "/c", pb.CacheSharingOpt_LOCKED), secretMount("s", "/s", true))
	}
	same := keyOf(t, mounted(), 2, amd64)
	for what, change := range map[string]func(*pb.ExecOp){
		"proxy":            func(e *pb.ExecOp) { e.Meta.ProxyEnv = &pb.ProxyEnv{HttpProxy: "x"} },
		"cache id":         func(e *pb.ExecOp) { e.Mounts[2].CacheOpt.ID = "other" },
		"cache sharing":    func(e *pb.ExecOp) { e.Mounts[2].CacheOpt.Sharing = pb.CacheSharingOpt_PRIVATE },
		"nothing whatever": func(*pb.ExecOp) {},
	} {
		e := mounted()
		change(e)
		if got := keyOf(t, e, 2, amd64); got.Digest != same.Digest {
			t.Errorf("%s counts", what)
		}
	}
	for what, change := range map[string]func(*pb.ExecOp){
		"command":  func(e *pb.ExecOp) { e.Meta.Args[2] = "y" },
		"env":      func(e *pb.ExecOp) { e.Meta.Env = append(e.Meta.Env, "N=1") },
		"cwd":      func(e *pb.ExecOp) { e.Meta.Cwd = "/tmp" },
		"user":     func(e *pb.ExecOp) { e.Meta.User = "1" },
		"network":  func(e *pb.ExecOp) { e.Network = pb.NetMode_HOST },
		"security": func(e *pb.ExecOp) { e.Security = pb.SecurityMode_INSECURE },
		"target":   func(e *pb.ExecOp) { e.Mounts[1].Dest = "/n" },
		"selector": func(e *pb.ExecOp) { e.Mounts[1].Selector = "/b" },
		"secret":   func(e *pb.ExecOp) { e.Mounts[3].SecretOpt.ID = "other" },
	} {
		e := mounted()
		change(e)
		if got := keyOf(t, e, 2, amd64); got.Digest == same.Digest {
			t.Errorf("%s does not count", what)
		}
	}
	arm64 := step.Vertex{Platform: &pb.Platform{OS: "linux", Architecture: "arm64"}}
	if got := keyOf(t, mounted(), 2, arm64); got.Digest == same.Digest {
		t.Error("platform does not count")
	}
	if same.Content[0] != nil || same.Content[1] == nil {
		t.Error("the root is read by its key, what is mounted to be read by its content")
	}
	written := mounted()
	written.Mounts[1].Readonly, written.Mounts[1].Output = false, 1
	if key := keyOf(t, written, 2, amd64); key.Content[1] != nil {
		t.Error("what is handed on must not be known by a part of it")
	}
	// The extra hosts' names count, not where they are.
	hosts := mounted()
	hosts.Meta.ExtraHosts = []*pb.HostIP{{Host: "a", IP: "1.1.1.1"}}
	one := keyOf(t, hosts, 2, amd64)
	hosts.Meta.ExtraHosts[0].IP = "2.2.2.2"
	if keyOf(t, hosts, 2, amd64).Digest != one.Digest || one.Digest == same.Digest {
		t.Error("extra hosts")
	}
}

// TestContentKey has a mount that is only read count by what is in it, wherever it comes from.
func TestContentKey(t *testing.T) {
	k := newKit(t, t.TempDir(), false)
	stages := make([]digest.Digest, 3)
	e := shell("x", &pb.Mount{Input: 1, Selector: "/src", Dest: "/m", Readonly: true, Output: -1})
	key := keyOfRunner(t, k.Runner, e)
	for i, script := range []string{
		"mkdir /src; echo 1 >/src/a; echo 1 >/other", "mkdir /src; echo 1 >/src/a; touch -d 2001-01-01 /src/a; echo 2 >/other", "mkdir /src; echo 2 >/src/a",
	} {
		pile, _ := k.run(shell(script))
		var err error
		if stages[i], err = key.Content[1](t.Context(), k.env, step.Ref{Pile: pile}); err != nil {
			t.Fatal(err)
		}
	}
	if stages[0] != stages[1] || stages[0] == stages[2] {
		t.Error(stages)
	}
}

func keyOfRunner(t *testing.T, r *Runner, exec *pb.ExecOp) step.Key {
	t.Helper()
	o, err := r.Op(&pb.Op{Inputs: make([]*pb.Input, 2)}, exec, step.Vertex{})
	if err != nil {
		t.Fatal(err)
	}
	key, err := o.Key(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return key
}
