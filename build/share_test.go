package build

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/opencontainers/go-digest"

	"github.com/cove-containers/cove/build/step"
	"github.com/cove-containers/cove/layer"
)

// elsewhere is a cache somewhere else: what was exported to it.
type elsewhere struct {
	k      *kit
	mu     sync.Mutex
	keys   map[digest.Digest]step.Done
	lies   map[digest.Digest]digest.Digest // keys it says are known by others, and has nothing for
	broken bool
	loads  int
}

func (e *elsewhere) export(_ context.Context, _ *step.Env, _ map[string]string, out *Outcome) (map[string]string, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, s := range out.Steps {
		e.keys[s.Key] = s
	}
	return map[string]string{"cache.test": "exported"}, nil
}

func (e *elsewhere) Find(key digest.Digest) (step.Found, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if other, ok := e.lies[key]; ok {
		return step.Found{Key: other, Load: func(context.Context, *step.Env) (step.Outcome, error) {
			return step.Outcome{}, errors.New("there never was anything")
		}}, true
	}
	s, ok := e.keys[key]
	if !ok || !strings.Contains(s.Name, "RUN") {
		return step.Found{}, false
	}
	return step.Found{Key: key, Load: func(ctx context.Context, env *step.Env) (step.Outcome, error) {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.loads++
		if e.broken {
			return step.Outcome{}, errors.New("the registry is gone")
		}
		name := env.Lease.Name()
		if err := e.k.layers.Build(ctx, name, nil); err != nil {
			return step.Outcome{}, err
		}
		_, err := e.k.layers.Seal(ctx, name)
		return step.Outcome{Refs: []step.Ref{{Pile: layer.Pile{name}}}}, err
	}}, true
}

// share gives a kit a cache elsewhere, under the type "test".
func share(t *testing.T) (*kit, *elsewhere) {
	e := &elsewhere{keys: map[digest.Digest]step.Done{}}
	e.k = newKit(t, func(p *Parts) {
		p.CacheExports = map[string]CacheExport{"test": e.export}
		p.CacheImports = map[string]CacheImport{"test": func(_ context.Context, _ *step.Env, attrs map[string]string) (step.Finder, error) {
			if attrs["ref"] == "missing" {
				return nil, errors.New("no such cache")
			}
			return e, nil
		}}
	})
	return e.k, e
}

func (k *kit) solve(dockerfile string, change func(*Request)) (*Response, error) {
	k.mu.Lock()
	k.context = map[string]string{"Dockerfile": dockerfile}
	k.mu.Unlock()
	req := Request{FrontEnd: "dockerfile.v0"}
	change(&req)
	return k.builder.Solve(k.t.Context(), req)
}

func TestCacheFromElsewhere(t *testing.T) {
	k, e := share(t)
	const dockerfile = "FROM busybox\nRUN one\nRUN two\n"
	entry := func(ref string) []gateway.CacheOptionsEntry {
		return []gateway.CacheOptionsEntry{{Type: "test", Attrs: map[string]string{"ref": ref}}}
	}
	got, err := k.solve(dockerfile, func(r *Request) { r.CacheExports = entry("x") })
	if err != nil || got.Exporter["cache.test"] != "exported" || len(e.keys) < 3 {
		t.Fatal(got, err, len(e.keys))
	}
	k.runs()
	forget := func() {
		t.Helper()
		_, names := pruneAll(t, k)
		k.layers.Scrap(t.Context(), names...)
	}
	forget()
	if _, err := k.solve(dockerfile+"RUN three\n", func(r *Request) { r.CacheImports = entry("x") }); err != nil {
		t.Fatal(err)
	}
	if ran := k.runs(); !slices.Equal(ran, []string{"three"}) || e.loads != 1 {
		t.Errorf("ran %v, loaded %d times", ran, e.loads)
	}
	// What came from there, or was made from that, is nothing to those who have not asked for it,
	if _, err := k.solve(dockerfile+"RUN three\n", func(*Request) {}); err != nil || !slices.Equal(k.runs(), []string{"one", "three", "two"}) {
		t.Error("found without import", err)
	}
	// and what they have made is good for all.
	if _, err := k.solve(dockerfile+"RUN three\n", func(r *Request) { r.CacheImports = entry("x") }); err != nil || len(k.runs()) != 0 || e.loads != 1 {
		t.Error("not found with import", err, e.loads)
	}
	// A cache that promises and does not give, and one that is not there, cost time only.
	forget()
	e.broken = true
	for _, ref := range []string{"x", "missing"} {
		if _, err := k.solve(dockerfile, func(r *Request) { r.CacheImports = entry(ref) }); err != nil {
			t.Errorf("%s: %v", ref, err)
		}
	}
	if ran := k.runs(); !slices.Equal(ran, []string{"one", "two"}) {
		t.Errorf("ran %v", ran)
	}
	for _, change := range []func(*Request){
		func(r *Request) { r.CacheImports = []gateway.CacheOptionsEntry{{Type: "none"}} },
		func(r *Request) { r.CacheExports = []gateway.CacheOptionsEntry{{Type: "none"}} },
	} {
		if _, err := k.solve(dockerfile, change); err == nil {
			t.Error("a type of cache that there is not")
		}
	}
}

// TestCacheThatMixesUpKeys: what an import says two steps have in common is believed by nobody else.
func TestCacheThatMixesUpKeys(t *testing.T) {
	k, e := share(t)
	entry := []gateway.CacheOptionsEntry{{Type: "test", Attrs: map[string]string{"ref": "x"}}}
	keys := map[string]digest.Digest{}
	for _, name := range []string{"one", "other"} {
		if _, err := k.solve("FROM busybox\nRUN "+name+"\n", func(r *Request) { r.CacheExports = entry }); err != nil {
			t.Fatal(err)
		}
		for key, s := range e.keys {
			if strings.HasSuffix(s.Name, "RUN "+name) {
				keys[name] = key
			}
		}
	}
	k.runs()
	_, names := pruneAll(t, k)
	k.layers.Scrap(t.Context(), names...)
	e.keys, e.lies = nil, map[digest.Digest]digest.Digest{keys["one"]: keys["other"]}
	if _, err := k.solve("FROM busybox\nRUN one\nRUN more\n", func(r *Request) { r.CacheImports = entry }); err != nil || !slices.Equal(k.runs(), []string{"more", "one"}) {
		t.Error("with the import:", err)
	}
	for _, dockerfile := range []string{"FROM busybox\nRUN other\nRUN more\n", "FROM busybox\nRUN one\nRUN more\n"} {
		if _, err := k.solve(dockerfile, func(*Request) {}); err != nil || len(k.runs()) != 2 {
			t.Errorf("%q has what another step made: %v", dockerfile, err)
		}
	}
}

// TestFoldersOfTheSameName: the cache in a client's folder is not taken for that of another client's.
func TestFoldersOfTheSameName(t *testing.T) {
	k, e := share(t)
	const dockerfile = "FROM busybox\nRUN one\n"
	at := func(attrs ...string) []gateway.CacheOptionsEntry {
		return []gateway.CacheOptionsEntry{{Type: "test", Attrs: map[string]string{"src": "/tmp/cache", attrs[0]: attrs[1]}}}
	}
	if _, err := k.solve(dockerfile, func(r *Request) { r.CacheExports = at("mode", "max") }); err != nil {
		t.Fatal(err)
	}
	k.runs()
	_, names := pruneAll(t, k)
	k.layers.Scrap(t.Context(), names...)
	load := func(attrs ...string) {
		t.Helper()
		if _, err := k.solve(dockerfile, func(r *Request) { r.CacheImports = at(attrs...) }); err != nil {
			t.Fatal(err)
		}
	}
	load("digest", "a")
	load("digest", "a")
	if ran := k.runs(); len(ran) != 0 || e.loads != 1 {
		t.Errorf("ran %v, loaded %d times", ran, e.loads)
	}
	e.keys = nil
	for _, attrs := range [][]string{{"digest", "b"}, {"registry.insecure", "true"}} {
		if origin := originOf(at(attrs...)[0]); origin == originOf(at("digest", "a")[0]) {
			t.Errorf("%v: %s", attrs, origin)
		}
	}
	load("digest", "b")
	if ran := k.runs(); !slices.Equal(ran, []string{"one"}) {
		t.Errorf("ran %v", ran)
	}
}

// TestRunningStepsOfImports: what is being made of something from elsewhere is not handed to those who have not asked for it.
func TestRunningStepsOfImports(t *testing.T) {
	k, e := share(t)
	const dockerfile = "FROM busybox\nRUN one\nRUN wait\n"
	entry := []gateway.CacheOptionsEntry{{Type: "test", Attrs: map[string]string{"ref": "x"}}}
	if _, err := k.solve(dockerfile, func(r *Request) { r.CacheExports = entry }); err != nil {
		t.Fatal(err)
	}
	for key, s := range e.keys {
		if !strings.HasSuffix(s.Name, "RUN one") {
			delete(e.keys, key)
		}
	}
	k.runs()
	_, names := pruneAll(t, k)
	k.layers.Scrap(t.Context(), names...)
	k.pause = make(chan struct{})
	var wait sync.WaitGroup
	for _, imports := range [][]gateway.CacheOptionsEntry{entry, nil} {
		wait.Go(func() {
			if _, err := k.solve(dockerfile, func(r *Request) { r.CacheImports = imports }); err != nil {
				t.Error(err)
			}
		})
		select {
		case <-k.begun:
		case <-time.After(20 * time.Second):
			t.Errorf("the step was not run with imports %v", imports)
		}
	}
	close(k.pause)
	wait.Wait()
	if ran := k.runs(); !slices.Equal(ran, []string{"one", "wait", "wait"}) || e.loads != 1 {
		t.Errorf("ran %v, loaded %d times", ran, e.loads)
	}
}
