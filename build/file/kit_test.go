package file

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/solver/pb"

	"github.com/cove-containers/cove/build/content"
	"github.com/cove-containers/cove/build/step"
	"github.com/cove-containers/cove/cache"
	"github.com/cove-containers/cove/layer"
	"github.com/cove-containers/cove/state"
)

// kit is a store of layers with the steps on top.
type kit struct {
	t      *testing.T
	layers *layer.Store
	maker  *Maker
	env    *step.Env
}

func newKit(t *testing.T) *kit {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: overlayfs, owners")
	}
	dir := t.TempDir()
	db, err := state.Open(filepath.Join(dir, "db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	layers, err := layer.Open(filepath.Join(dir, "layers"), db)
	if err != nil {
		t.Fatal(err)
	}
	records, err := cache.Open(db, cache.Config{})
	if err != nil {
		t.Fatal(err)
	}
	lease := records.Lease()
	t.Cleanup(func() { lease.Release() })
	return &kit{
		t: t, layers: layers, env: &step.Env{Lease: lease},
		maker: New(Parts{Layers: layers, Content: content.New(layers)}),
	}
}

// tree makes a layer from lines: "d PATH MODE UID:GID", "f PATH TEXT [MODE [UID:GID]]", "l PATH TARGET", "h PATH TARGET".
func (k *kit) tree(below layer.Pile, lines string) layer.Pile {
	k.t.Helper()
	ctx := context.Background()
	name := k.env.Lease.Name()
	if err := k.layers.Build(ctx, name, below); err != nil {
		k.t.Fatal(err)
	}
	root, err := k.layers.Root(ctx, name)
	if err != nil {
		k.t.Fatal(err)
	}
	at := fmt.Sprintf("/proc/self/fd/%d", root.Dir.Fd())
	for line := range strings.SplitSeq(strings.TrimSpace(lines), "\n") {
		if w := strings.Fields(line); len(w) > 0 {
			if err := plant(at, w); err != nil {
				k.t.Fatal(line, err)
			}
		}
	}
	if err := root.Close(); err != nil {
		k.t.Fatal(err)
	}
	if _, err := k.layers.Seal(ctx, name); err != nil {
		k.t.Fatal(err)
	}
	return append(slices.Clone(below), name)
}

func plant(at string, w []string) error {
	w = append(w, "", "", "", "")
	path := filepath.Join(at, filepath.Dir(w[1]), filepath.Base(w[1]))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	own := func(mode, ids string, otherwise os.FileMode) error {
		perm := otherwise
		if mode != "" {
			fmt.Sscanf(mode, "%o", &perm)
		}
		uid, gid := 0, 0
		fmt.Sscanf(ids, "%d:%d", &uid, &gid)
		if err := os.Lchown(path, uid, gid); err != nil {
			return err
		}
		return syscall.Chmod(path, uint32(perm))
	}
	switch w[0] {
	case "d":
		if err := os.MkdirAll(path, 0o755); err != nil {
			return err
		}
		return own(w[2], w[3], 0o755)
	case "f":
		if err := os.WriteFile(path, []byte(w[2]), 0o644); err != nil {
			return err
		}
		return own(w[3], w[4], 0o644)
	case "l":
		return os.Symlink(w[2], path)
	case "h":
		return os.Link(filepath.Join(at, w[2]), path)
	case "p":
		return syscall.Mknod(path, syscall.S_IFIFO|0o644, 0)
	case "rm":
		return os.RemoveAll(path)
	}
	return fmt.Errorf("no such line")
}

// list tells what is in a pile: kind, mode, owner, and content or target of each file, but for those below a skipped one.
func (k *kit) list(p layer.Pile, skip ...string) string {
	k.t.Helper()
	root, err := k.layers.OpenPile(context.Background(), p)
	if err != nil {
		k.t.Fatal(err)
	}
	defer root.Close()
	at := fmt.Sprintf("/proc/self/fd/%d/", root.Dir.Fd())
	var out strings.Builder
	err = filepath.WalkDir(at, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(path, at)
		if slices.Contains(skip, name) {
			return fs.SkipDir
		}
		info, err := e.Info()
		if err != nil || name == "" {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		fmt.Fprintf(&out, "%s %o %d:%d", name, st.Mode&0o7777, st.Uid, st.Gid)
		switch {
		case e.IsDir():
			out.WriteString(" /")
		case info.Mode()&fs.ModeSymlink != 0:
			target, _ := os.Readlink(path)
			out.WriteString(" -> " + target)
		case info.Mode().IsRegular():
			text, _ := os.ReadFile(path)
			fmt.Fprintf(&out, " %q", text)
		default:
			out.WriteString(" " + info.Mode().Type().String())
		}
		out.WriteString("\n")
		return nil
	})
	if err != nil {
		k.t.Fatal(err)
	}
	return out.String()
}

// run does what a state says on file systems: those that its images' names stand for.
func (k *kit) run(st llb.State, piles map[string]layer.Pile) (layer.Pile, error) {
	k.t.Helper()
	def, err := st.Marshal(context.Background(), llb.LinuxAmd64)
	if err != nil {
		k.t.Fatal(err)
	}
	made := map[string]layer.Pile{}
	var last layer.Pile
	for _, raw := range def.Def {
		var op pb.Op
		if err := op.UnmarshalVT(raw); err != nil {
			k.t.Fatal(err)
		}
		id := digestOf(raw)
		var in []step.Ref
		for _, i := range op.Inputs {
			in = append(in, step.Ref{Pile: made[i.Digest]})
		}
		switch o := op.Op.(type) {
		case *pb.Op_Source:
			name := strings.TrimPrefix(o.Source.Identifier, "docker-image://docker.io/library/")
			made[id] = piles[strings.TrimSuffix(name, ":latest")]
		case *pb.Op_File:
			s, err := k.maker.File(o.File, len(in))
			if err != nil {
				return nil, err
			}
			if made[id], err = k.do(s, in); err != nil {
				return nil, err
			}
		case *pb.Op_Merge:
			if made[id], err = k.do(k.maker.Merge(o.Merge), in); err != nil {
				return nil, err
			}
		case *pb.Op_Diff:
			if made[id], err = k.do(k.maker.Diff(o.Diff), in); err != nil {
				return nil, err
			}
		default:
			last = made[op.Inputs[0].Digest]
		}
	}
	return last, nil
}

// do keeps to what the builder does with a step: first the digests of what it reads, then the step.
func (k *kit) do(s step.Op, in []step.Ref) (layer.Pile, error) {
	ctx := context.Background()
	key, err := s.Key(ctx, k.env)
	if err != nil {
		return nil, err
	}
	for i, digest := range key.Content {
		if digest != nil {
			if _, err := digest(ctx, k.env, in[i]); err != nil {
				return nil, err
			}
		}
	}
	out, err := s.Run(ctx, k.env, in)
	if err != nil {
		return nil, err
	}
	return out.Refs[0].Pile, nil
}
