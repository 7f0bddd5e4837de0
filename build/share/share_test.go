package share

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	cacheconfig "github.com/moby/buildkit/cache/remotecache/v1/types"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cove-containers/cove/blob"
	"github.com/cove-containers/cove/build/result"
	"github.com/cove-containers/cove/build/step"
	"github.com/cove-containers/cove/cache"
	"github.com/cove-containers/cove/image"
	"github.com/cove-containers/cove/layer"
	"github.com/cove-containers/cove/remote"
	"github.com/cove-containers/cove/state"
	"github.com/cove-containers/cove/testkit"
)

// house is a data root with what sharing works with.
type house struct {
	*Sharer
	t      *testing.T
	layers *layer.Store
	lease  *cache.Lease
	env    *step.Env
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newHouse(t *testing.T) *house {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("mounts overlays: needs root")
	}
	root := t.TempDir()
	db, err := state.Open(filepath.Join(root, "cove.db"))
	must(t, err)
	t.Cleanup(func() { db.Close() })
	blobs, err := blob.Open(root)
	must(t, err)
	layers, err := layer.Open(filepath.Join(root, "layers"), db)
	must(t, err)
	reg, err := remote.New(remote.Config{})
	must(t, err)
	images, err := image.Open(db, blobs, reg, layers, nil)
	must(t, err)
	t.Cleanup(func() { images.Close() })
	records, err := cache.Open(db, cache.Config{})
	must(t, err)
	images.SetUsers(func() []image.User { return nil })
	images.SetHeld(records.Holds)
	x, err := result.New(result.Parts{Images: images, Layers: layers, Blobs: blobs, DB: db})
	must(t, err)
	mounts, err := cache.OpenMounts(filepath.Join(root, "mounts"), db)
	must(t, err)
	lease := records.Lease()
	env := &step.Env{Lease: lease, Progress: func(step.Status) {}}
	return &house{Sharer: New(Parts{Exporters: x, Images: images, Blobs: blobs, Remote: reg, Mounts: mounts}), t: t, layers: layers, lease: lease, env: env}
}

// build makes a layer with a file on a pile.
func (h *house) build(name string, below layer.Pile, file string) layer.Pile {
	h.t.Helper()
	ctx := context.Background()
	must(h.t, h.layers.Build(ctx, name, below))
	r, err := h.layers.Root(ctx, name)
	must(h.t, err)
	must(h.t, os.WriteFile(fmt.Sprintf("/proc/self/fd/%d/%s", r.Dir.Fd(), file), []byte(file), 0o644))
	must(h.t, r.Close())
	_, err = h.layers.Seal(ctx, name)
	must(h.t, err)
	h.lease.Hold(name)
	return append(append(layer.Pile{}, below...), name)
}

func key(name string) digest.Digest { return digest.FromString(name) }

// steps are two steps on one another, and one beside them.
func (h *house) steps() []step.Done {
	one := h.build("one", nil, "a")
	two := h.build("two", one, "b")
	other := h.build("other", nil, "c")
	exec := &pb.Op{Op: &pb.Op_Exec{}}
	made := func(name string, top bool, p layer.Pile) step.Done {
		names := func(context.Context) (own, definition digest.Digest, err error) { return key(name), "", nil }
		return step.Done{Vertex: step.Vertex{Name: name, Op: exec}, Key: key(name), Aliases: []digest.Digest{key("also " + name)}, Names: names, Refs: []step.Ref{{Pile: p}}, Top: top}
	}
	return []step.Done{made("one", false, one), made("two", true, two), made("other", false, other)}
}

// names lists the files of a pile.
func (h *house) names(p layer.Pile) string {
	h.t.Helper()
	r, err := h.layers.OpenPile(context.Background(), p)
	must(h.t, err)
	defer r.Close()
	list, err := os.ReadDir(fmt.Sprintf("/proc/self/fd/%d", r.Dir.Fd()))
	must(h.t, err)
	var out []string
	for _, e := range list {
		out = append(out, e.Name())
	}
	return strings.Join(out, " ")
}

func (h *house) blobs() int {
	all, err := h.Blobs.List()
	must(h.t, err)
	return len(all)
}

func startRegistry(t *testing.T) *testkit.Registry {
	t.Helper()
	r, err := testkit.NewRegistry("127.0.0.1:0", testkit.Faults{}, nil)
	must(t, err)
	t.Cleanup(r.Close)
	return r
}

// taken tells what an importer finds of a key: the names of the files, or why it has none.
func (h *house) taken(ref, name string) (string, error) {
	f, err := h.Import(context.Background(), h.env, Registry, map[string]string{"ref": ref})
	if err != nil {
		return "", err
	}
	found, ok := f.Find(key(name))
	if !ok {
		return "", fmt.Errorf("no record of %s", name)
	}
	out, err := found.Load(context.Background(), h.env)
	if err != nil {
		return "", err
	}
	return h.names(out.Refs[0].Pile), nil
}

func TestRegistry(t *testing.T) {
	r := startRegistry(t)
	from := newHouse(t)
	steps := from.steps()
	for mode, attrs := range map[string]map[string]string{
		"max":    {"mode": "max"},
		"min":    {},
		"index":  {"mode": "max", "image-manifest": "false"},
		"docker": {"mode": "max", "oci-mediatypes": "false"},
		"zstd":   {"mode": "max", "compression": "zstd"},
	} {
		ref := r.Host() + "/cache:" + mode
		attrs["ref"] = ref
		told, err := from.Export(context.Background(), from.env, Registry, attrs, steps)
		must(t, err)
		if !strings.Contains(told["cache.manifest"], "sha256:") {
			t.Errorf("%s: told %v", mode, told)
		}
		to := newHouse(t)
		for name, want := range map[string]string{"one": "a", "two": "a b", "also two": "a b"} {
			if got, err := to.taken(ref, name); err != nil || got != want {
				t.Errorf("%s: %s gives %q, %v", mode, name, got, err)
			}
		}
		if got, err := to.taken(ref, "other"); (err == nil) != (mode != "min") || mode != "min" && got != "c" {
			t.Errorf("%s: other gives %q, %v", mode, got, err)
		}
	}
	if n := from.blobs(); n != 0 {
		t.Errorf("%d blobs are left of exports", n)
	}
}

// TestLies: a cache whose parts are not what it says gives an error that lets the step be run, and leaves nothing.
func TestLies(t *testing.T) {
	r := startRegistry(t)
	from := newHouse(t)
	ref := r.Host() + "/cache:1"
	_, err := from.Export(context.Background(), from.env, Registry, map[string]string{"ref": ref, "mode": "max"}, from.steps())
	must(t, err)
	var m ocispec.Manifest
	must(t, json.Unmarshal(r.Manifest("cache", "1"), &m))
	var config cacheconfig.CacheConfig
	f, err := newHouse(t).Import(context.Background(), from.env, Registry, map[string]string{"ref": ref})
	must(t, err)
	body, err := f.(*finder).fetch(context.Background(), m.Config)
	must(t, err)
	must(t, json.Unmarshal(body, &config))

	lie := func(tag string, change func(c *cacheconfig.CacheConfig, m *ocispec.Manifest)) string {
		var c cacheconfig.CacheConfig
		must(t, json.Unmarshal(body, &c))
		wrong := m
		wrong.Layers = append([]ocispec.Descriptor{}, m.Layers...)
		change(&c, &wrong)
		config, err := json.Marshal(c)
		must(t, err)
		wrong.Config.Digest, wrong.Config.Size = r.PutBlob(config), int64(len(config))
		document, err := json.Marshal(wrong)
		must(t, err)
		r.PutManifest("cache", tag, wrong.MediaType, document)
		return r.Host() + "/cache:" + tag
	}
	absent := digest.FromString("nothing has this digest")
	for tag, change := range map[string]func(c *cacheconfig.CacheConfig, m *ocispec.Manifest){
		"swapped": func(c *cacheconfig.CacheConfig, _ *ocispec.Manifest) {
			a, b := c.Layers[0].Annotations, c.Layers[1].Annotations
			a.DiffID, b.DiffID = b.DiffID, a.DiffID
		},
		"size": func(_ *cacheconfig.CacheConfig, m *ocispec.Manifest) {
			for i := range m.Layers {
				m.Layers[i].Size++
			}
		},
		"absent": func(c *cacheconfig.CacheConfig, m *ocispec.Manifest) {
			for i := range m.Layers {
				m.Layers[i].Digest, c.Layers[i].Blob = absent, absent
			}
		},
		"elsewhere": func(c *cacheconfig.CacheConfig, _ *ocispec.Manifest) {
			for i := range c.Layers {
				c.Layers[i].Blob = absent
			}
		},
		"beyond": func(c *cacheconfig.CacheConfig, _ *ocispec.Manifest) {
			for i := range c.Records {
				for j := range c.Records[i].ChainedResults {
					c.Records[i].ChainedResults[j].LayerIndexes = []int{99, -1}
				}
			}
		},
		"notdigest": func(c *cacheconfig.CacheConfig, _ *ocispec.Manifest) {
			for i := range c.Layers {
				c.Layers[i].Annotations.DiffID = "sha256:../../etc"
			}
		},
	} {
		h := newHouse(t)
		if got, err := h.taken(lie(tag, change), "two"); err == nil {
			t.Errorf("%s: it gives %q", tag, got)
		}
		h.lease.Release()
		if _, err := h.Images.Sweep(context.Background()); err != nil {
			t.Error(err)
		}
		if n := h.blobs(); n != 0 {
			t.Errorf("%s: %d blobs are left", tag, n)
		}
	}
	for name, document := range map[string]string{
		"garbage": "{", "list": `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`,
	} {
		r.PutManifest("cache", name, ocispec.MediaTypeImageIndex, []byte(document))
		if got, err := newHouse(t).taken(r.Host()+"/cache:"+name, "two"); err == nil {
			t.Errorf("%s: it gives %q", name, got)
		}
	}
}

func TestSettings(t *testing.T) {
	h := newHouse(t)
	for _, attrs := range []map[string]string{
		{"type": "gha"}, {"type": Registry}, {"type": Local}, {"type": Registry, "ref": "x", "mode": "most"}, {"type": Registry, "ref": "x", "oci-mediatypes": "no!"},
		{"type": Registry, "ref": "x", "oci-mediatypes": "false", "image-manifest": "true"}, {"type": Registry, "ref": "x", "compression": "lzma"},
	} {
		if err := h.Check(attrs["type"], attrs); err == nil {
			t.Errorf("%v is taken", attrs)
		}
	}
	if _, err := h.Import(context.Background(), h.env, "s3", nil); err == nil || !strings.Contains(err.Error(), `a cache of type "s3" is not supported`) {
		t.Error(err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"layers":[{"blob":"sha256:aa","parent":-1}],"records":[{"digest":"sha256:bb","chains":[{"layers":[0]}]},{"inputs":[[{"selector":"cove.same","link":7}]]}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		found, err := decode(body, nil, nil)
		for k, e := range found {
			if err != nil || e == nil || k.Validate() != nil {
				t.Errorf("%s: %v, %v", k, e, err)
			}
		}
	})
}

// mount shows what a cache mount has; absent is "-".
func (h *house) mount(id string) string {
	h.t.Helper()
	m, err := h.Mounts.Take(context.Background(), cache.MountRequest{Key: id, Fill: func(*os.File) error { return errAbsent }})
	if err != nil {
		return "-"
	}
	defer m.Release()
	body, err := os.ReadFile(filepath.Join(m.Dir, "sub", "file"))
	must(h.t, err)
	return string(body)
}

// TestCacheMounts: they go and come only when both sides say so, and what is not as it says is not restored.
func TestCacheMounts(t *testing.T) {
	r := startRegistry(t)
	from := newHouse(t)
	fill := func(h *house, id, text string) {
		m, err := h.Mounts.Take(context.Background(), cache.MountRequest{Key: id})
		must(t, err)
		defer m.Release()
		must(t, os.MkdirAll(filepath.Join(m.Dir, "sub"), 0o755))
		must(t, os.WriteFile(filepath.Join(m.Dir, "sub", "file"), []byte(text), 0o644))
	}
	fill(from, "/root/.cache", "content")
	fill(from, "unused", "other")
	steps := from.steps()
	steps[1].Op = &pb.Op{Op: &pb.Op_Exec{Exec: &pb.ExecOp{Mounts: []*pb.Mount{
		{MountType: pb.MountType_CACHE, Input: -1, CacheOpt: &pb.CacheOpt{ID: "/root/.cache"}},
		{MountType: pb.MountType_CACHE, Input: -1, CacheOpt: &pb.CacheOpt{ID: "never made"}},
	}}}}
	ref := r.Host() + "/mounts:1"
	_, err := from.Export(context.Background(), from.env, Registry, map[string]string{"ref": ref, "mounts": "true"}, steps)
	must(t, err)
	if from.mount("never made") != "-" {
		t.Error("exporting makes cache mounts")
	}
	// take is a step that wants the mount.
	take := func(h *house, id string, attrs ...string) error {
		m := map[string]string{"ref": ref}
		for _, a := range attrs {
			m[a] = "true"
		}
		found, err := h.Import(context.Background(), h.env, Registry, m)
		must(t, err)
		fill := found.(step.MountFinder).Mount(id)
		if fill == nil {
			return nil
		}
		one, err := h.Mounts.Take(context.Background(), cache.MountRequest{Key: id, Fill: func(dir *os.File) error {
			return fill(context.Background(), h.env, dir)
		}})
		if err == nil {
			one.Release()
		}
		return err
	}
	to := newHouse(t)
	must(t, take(to, "/root/.cache"))
	must(t, take(to, "unused", "mounts"))
	if got := to.mount("/root/.cache"); got != "-" {
		t.Errorf("restored without having been asked for: %q", got)
	}
	must(t, take(to, "/root/.cache", "mounts"))
	if got := to.mount("/root/.cache"); got != "content" || to.mount("unused") != "-" {
		t.Errorf("restored %q", got)
	}
	own := newHouse(t)
	fill(own, "/root/.cache", "mine")
	must(t, take(own, "/root/.cache", "mounts"))
	if got := own.mount("/root/.cache"); got != "mine" {
		t.Errorf("what was here is %q now", got)
	}
	// What was imported and no step has needed is exported again.
	again := newHouse(t)
	found, err := again.Import(context.Background(), again.env, Registry, map[string]string{"ref": ref, "mounts": "true"})
	must(t, err)
	again.env.Mount = func(id string) func(context.Context, *os.File) error {
		fill := found.(step.MountFinder).Mount(id)
		if fill == nil {
			return nil
		}
		return func(ctx context.Context, dir *os.File) error { return fill(ctx, again.env, dir) }
	}
	same := again.steps()
	same[1].Op = steps[1].Op
	_, err = again.Export(context.Background(), again.env, Registry, map[string]string{"ref": ref, "mounts": "true"}, same)
	must(t, err)
	if got := again.mount("/root/.cache"); got != "content" {
		t.Errorf("exported again: %q", got)
	}
	var m ocispec.Manifest
	must(t, json.Unmarshal(r.Manifest("mounts", "1"), &m))
	for i := range m.Layers {
		if m.Layers[i].Annotations[mountNote] != "" {
			m.Layers[i].Digest = r.PutBlob([]byte("this is no archive"))
			m.Layers[i].Size = int64(len("this is no archive"))
		}
	}
	body, err := json.Marshal(m)
	must(t, err)
	r.PutManifest("mounts", "1", m.MediaType, body)
	liar := newHouse(t)
	if err := take(liar, "/root/.cache", "mounts"); err == nil {
		t.Error("a lie is restored")
	}
	if liar.mount("/root/.cache") != "-" || liar.blobs() != 0 {
		t.Error("a lie leaves something")
	}
}
