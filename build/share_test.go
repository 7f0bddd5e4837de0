package build

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

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
