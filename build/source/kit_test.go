package source

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/testutil"

	"github.com/cove-containers/cove/blob"
	"github.com/cove-containers/cove/build/content"
	"github.com/cove-containers/cove/build/step"
	"github.com/cove-containers/cove/cache"
	"github.com/cove-containers/cove/image"
	"github.com/cove-containers/cove/layer"
	"github.com/cove-containers/cove/remote"
	"github.com/cove-containers/cove/state"
)

// kit is what a daemon has that sources need.
type kit struct {
	t        *testing.T
	layers   *layer.Store
	images   *image.Store
	records  *cache.Store
	sessions *session.Manager
	maker    *Maker
	dir      string

	mu   sync.Mutex
	said map[string]step.Status
}

func newKit(t *testing.T) *kit {
	t.Helper()
	return newKitIn(t, t.TempDir())
}

func newKitIn(t *testing.T, dir string) *kit {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: overlayfs, owners")
	}
	k := &kit{t: t, dir: dir, said: map[string]step.Status{}}
	db, err := state.Open(filepath.Join(k.dir, "db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	if k.layers, err = layer.Open(filepath.Join(k.dir, "layers"), db); err != nil {
		t.Fatal(err)
	}
	if k.records, err = cache.Open(db, cache.Config{}); err != nil {
		t.Fatal(err)
	}
	blobs, err := blob.Open(k.dir)
	if err != nil {
		t.Fatal(err)
	}
	registry, err := remote.New(remote.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if k.images, err = image.Open(db, blobs, registry, k.layers, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { k.images.Close() })
	k.images.SetUsers(func() []image.User { return nil })
	if k.sessions, err = session.NewManager(); err != nil {
		t.Fatal(err)
	}
	k.maker = New(Parts{Layers: k.layers, Content: content.New(k.layers), Images: k.images, Folder: filepath.Join(k.dir, "sources")})
	return k
}

// client connects a client with what it serves, and returns the name of its session.
func (k *kit) client(shared string, serves ...session.Attachable) (id string, hangUp func()) {
	k.t.Helper()
	s, err := session.NewSession(context.Background(), shared)
	if err != nil {
		k.t.Fatal(err)
	}
	for _, a := range serves {
		s.Allow(a)
	}
	go s.Run(context.Background(), session.Dialer(testutil.TestStream(testutil.Handler(k.sessions.HandleConn))))
	hangUp = func() { s.Close() }
	k.t.Cleanup(hangUp)
	soon, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if _, err := k.sessions.Get(soon, s.ID(), false); err != nil {
		k.t.Fatal(err)
	}
	return s.ID(), hangUp
}

// env is what a build of these clients gives to a step; done ends the build and removes what is nobody's.
func (k *kit) env(ids ...string) (env *step.Env, done func()) {
	lease := k.records.Lease()
	env = &step.Env{
		Sessions: k.sessions, Group: session.NewGroup(ids...), Lease: lease,
		Progress: func(s step.Status) {
			k.mu.Lock()
			defer k.mu.Unlock()
			k.said[s.ID] = s
		},
	}
	return env, func() {
		if err := k.layers.Scrap(context.Background(), lease.Release()...); err != nil {
			k.t.Error(err)
		}
	}
}

// run does a step from its key on.
func (k *kit) run(env *step.Env, s step.Op) (step.Outcome, error) {
	if _, err := s.Key(context.Background(), env); err != nil {
		return step.Outcome{}, err
	}
	return s.Run(context.Background(), env, nil)
}

// list tells what is in a pile.
func (k *kit) list(p layer.Pile) string {
	k.t.Helper()
	return k.look(p, list)
}

// look is what tell says of a pile's root.
func (k *kit) look(p layer.Pile, tell func(t *testing.T, at string) string) string {
	k.t.Helper()
	root, err := k.layers.OpenPile(context.Background(), p)
	if err != nil {
		k.t.Fatal(err)
	}
	defer root.Close()
	return tell(k.t, fmt.Sprintf("/proc/self/fd/%d/", root.Dir.Fd()))
}

func list(t *testing.T, at string) string {
	t.Helper()
	var out strings.Builder
	err := filepath.WalkDir(at, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := strings.Trim(strings.TrimPrefix(path, at), "/")
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
		fmt.Fprintf(&out, " %d\n", info.ModTime().UnixNano())
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.String()
}
