package build

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"github.com/containerd/errdefs"
	control "github.com/moby/buildkit/api/services/control"
	"github.com/moby/buildkit/client"
	solveerrors "github.com/moby/buildkit/solver/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/cove-containers/cove/cache"
	"github.com/cove-containers/cove/layer"
	"github.com/cove-containers/cove/state"
)

const small = `FROM busybox
RUN echo hi
COPY a /b
RUN echo last
`

func TestDockerfile(t *testing.T) {
	k := newKit(t)
	got, err := k.build(t.Context(), "one", small, map[string]string{"a": "A", "other": "1"})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"etc/base": "base", "ran-echo hi": "echo hi", "b": "A", "ran-echo last": "echo last"}
	if fmt.Sprint(got.files) != fmt.Sprint(want) {
		t.Errorf("files %v", got.files)
	}
	if got.out.Metadata["containerimage.config"] == nil {
		t.Error("no config")
	}
	if ran := k.runs(); len(ran) != 2 {
		t.Errorf("ran %v", ran)
	}
	s, err := k.status("one")
	if err != nil || !strings.Contains(s.logs, "output of echo hi\n") || s.vertices["[2/4] RUN echo hi"] == nil ||
		s.vertices["exporting to the test"].Completed == nil {
		t.Errorf("status: %v, %+v", err, s)
	}

	// Nothing has changed that the steps read.
	for i, other := range []string{"1", "2"} {
		id := fmt.Sprint("again", i)
		got, err = k.build(t.Context(), id, small, map[string]string{"a": "A", "other": other})
		if ran := k.runs(); err != nil || len(ran) != 0 || fmt.Sprint(got.files) != fmt.Sprint(want) {
			t.Errorf("build again: %v, ran %v, files %v", err, ran, got.files)
		}
		s, err = k.status(id)
		if err != nil || !slices.Equal(s.cached(), []string{"[1/4] FROM docker.io/library/busybox:latest", "[2/4] RUN echo hi", "[3/4] COPY a /b", "[4/4] RUN echo last"}) &&
			!slices.Contains(s.cached(), "[3/4] COPY a /b") {
			t.Errorf("cached %v, %v", s.cached(), err)
		}
	}
	got, err = k.build(t.Context(), "", small, map[string]string{"a": "B"})
	if ran := k.runs(); err != nil || !slices.Equal(ran, []string{"echo last"}) || got.files["b"] != "B" {
		t.Errorf("with another file: %v, ran %v, files %v", err, ran, got.files)
	}
	_, err = k.build(t.Context(), "", small, map[string]string{"a": "B"}, "no-cache=")
	if ran := k.runs(); err != nil || len(ran) != 2 {
		t.Errorf("without cache: %v, ran %v", err, ran)
	}
	if _, err = k.build(t.Context(), "", small, map[string]string{"a": "B"}); err != nil || len(k.runs()) != 0 {
		t.Error("what was built without cache is not found", err)
	}
}

func TestErrorsPointAtTheDockerfile(t *testing.T) {
	k := newKit(t)
	_, err := k.build(t.Context(), "bad", "FROM busybox\nRUN echo ok\n\nRUN exit 7\n", nil)
	if err == nil || !strings.Contains(err.Error(), `process "/bin/sh -c exit 7" did not complete successfully: exit code: 7`) {
		t.Fatal(err)
	}
	sources := solveerrors.Sources(err)
	if len(sources) != 1 || sources[0].Ranges[0].Start.Line != 4 || sources[0].Info.Filename != "Dockerfile" {
		t.Errorf("sources %v", sources)
	}
	var v *solveerrors.VertexError
	if !errors.As(err, &v) {
		t.Error("no vertex")
	}
	s, serr := k.status("bad")
	if serr != nil || !strings.Contains(s.vertices["[3/3] RUN exit 7"].Error, "exit code: 7") {
		t.Errorf("status %v %v", serr, s.vertices["[3/3] RUN exit 7"])
	}
	for text, want := range map[string]string{
		"FROM busybox\nCOPY none /x\n":               "not found",
		"FROM busybox\nNONSENSE\n":                   "unknown instruction: NONSENSE",
		"# syntax=example.com/front:1\nFROM busybox": "built in",
		"": "the Dockerfile cannot be empty",
		"FROM a AS b\nFROM b AS c\nCOPY --from=d / /\nFROM c AS d": "",
	} {
		if _, err := k.build(t.Context(), "", text, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
	_, err = k.build(t.Context(), "binary", "\xf1t#\x9f", nil)
	if err == nil || !utf8.ValidString(err.Error()) {
		t.Errorf("binary: %q", err)
	}
	if _, err := k.status("binary"); err != nil {
		t.Error(err)
	}
	if raw, err := k.record("binary"); err != nil || len(raw) == 0 {
		t.Error("no record of what was not UTF-8", err)
	}
	// The front end that is built in answers for its images.
	for _, name := range []string{"docker/dockerfile:1", "docker.io/docker/dockerfile:1.4@sha256:" + strings.Repeat("a", 64)} {
		if _, err := k.build(t.Context(), "", "# syntax="+name+"\nFROM busybox\nRUN echo s\n", nil); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// record is what the database has of a build that has ended.
func (k *kit) record(id string) ([]byte, error) {
	k.t.Helper()
	if err := k.db.Update(func(*state.Tx) error { return nil }); err != nil { // what was left for later is written first
		return nil, err
	}
	p, err := k.builder.history.table.Get(id)
	return p.Record, err
}

func TestCancel(t *testing.T) {
	k := newKit(t)
	k.pause = make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { _, err := k.build(ctx, "c", "FROM busybox\nRUN wait\n", nil); done <- err }()
	<-k.begun
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	k.eventually("nothing is left", func() bool { return k.builder.solver.Running() == 0 && k.builder.Running() == 0 })
	go func() { _, err := k.build(t.Context(), "d", "FROM busybox\nRUN wait\n", nil); done <- err }()
	<-k.begun
	if err := k.builder.Cancel("d"); err != nil {
		t.Fatal(err)
	}
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	k.settled()
}

// settled checks that there is no layer that the cache does not know.
func (k *kit) settled() {
	k.t.Helper()
	k.eventually("layers of failed steps are gone", func() bool {
		for _, name := range k.layers.Built() {
			if !k.records.Holds(name) {
				return false
			}
		}
		return true
	})
}

func TestBuildsShareSteps(t *testing.T) {
	k := newKit(t)
	k.pause = make(chan struct{})
	const dockerfile = "FROM busybox\nRUN wait\nRUN echo after\n"
	first, leave := context.WithCancel(t.Context())
	results := make(chan error, 20)
	go func() { _, err := k.build(first, "first", dockerfile, nil); results <- err }()
	<-k.begun
	var wait sync.WaitGroup
	for i := range 8 {
		wait.Go(func() { _, err := k.build(t.Context(), fmt.Sprint("b", i), dockerfile, nil); results <- err })
	}
	k.eventually("all wait", func() bool {
		for i := range 8 {
			if s := k.builder; s != nil {
				s.mu.Lock()
				b := s.builds[fmt.Sprint("b", i)]
				s.mu.Unlock()
				if b == nil {
					return false
				}
				waits := false
				b.progress.mu.Lock()
				for _, v := range b.progress.vertices {
					waits = waits || strings.Contains(v.Name, "RUN wait") && v.Started != nil
				}
				b.progress.mu.Unlock()
				if !waits {
					return false
				}
			}
		}
		return true
	})
	leave()
	if err := <-results; !errors.Is(err, context.Canceled) {
		t.Error("who left:", err)
	}
	close(k.pause)
	wait.Wait()
	for range 8 {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	if ran := k.runs(); !slices.Equal(ran, []string{"echo after", "wait"}) {
		t.Errorf("ran %v", ran)
	}
	if s, err := k.status("b3"); err != nil || !strings.Contains(s.logs, "output of wait") {
		t.Errorf("who came late has not heard everything: %v %q", err, s.logs)
	}
}

func TestRestart(t *testing.T) {
	k := newKit(t)
	if _, err := k.build(t.Context(), "one", small, map[string]string{"a": "A"}); err != nil {
		t.Fatal(err)
	}
	k.runs()
	k.close()
	k.open()
	if _, err := k.build(t.Context(), "two", small, map[string]string{"a": "A"}); err != nil || len(k.runs()) != 0 {
		t.Error("the cache does not outlive a restart:", err)
	}
	if s, err := k.status("one"); err != nil || !strings.Contains(s.logs, "output of echo hi") {
		t.Errorf("nor does the log: %v %q", err, s.logs)
	}

	// Checks find a record without its layer, and a layer without record, and put it right.
	if found, err := k.builder.Check(t.Context(), false); err != nil || len(found.Faults) != 0 {
		t.Errorf("faults %v, %v", found.Faults, err)
	}
	half := k.records.Lease()
	stray := half.Name()
	if err := k.layers.Build(t.Context(), stray, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := k.layers.Seal(t.Context(), stray); err != nil {
		t.Fatal(err)
	}
	half.Release()
	top := ""
	for _, u := range must(k.records.List(t.Context())) {
		if u.Description == "[4/4] RUN echo last" {
			top = u.Own[0]
		}
	}
	if err := k.layers.Scrap(t.Context(), top); err != nil {
		t.Fatal(err)
	}
	found, err := k.builder.Check(t.Context(), false)
	if err != nil || len(found.Faults) != 2 {
		t.Fatalf("faults %v, %v", found.Faults, err)
	}
	for _, f := range found.Faults {
		if !f.Persists() || f.Mend(t.Context()) != nil || f.Persists() {
			t.Errorf("fault %+v stays", f)
		}
	}
	if _, err := k.build(t.Context(), "mended", small, map[string]string{"a": "A"}); err != nil || !slices.Equal(k.runs(), []string{"echo last"}) {
		t.Error("after repair:", err)
	}

	// A record without its layer goes at the start, and a layer without record.
	k.close()
	lost := ""
	db := k.reopenForDamage(func(built []string) { lost = built[0] })
	db()
	k.open()
	if _, err := k.build(t.Context(), "three", small, map[string]string{"a": "A"}); err != nil {
		t.Errorf("after layer %s was lost: %v", lost, err)
	}
	k.settled()
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// reopenForDamage deletes one of the built layers behind the cache's back.
func (k *kit) reopenForDamage(told func([]string)) func() {
	k.t.Helper()
	k.open()
	built := k.layers.Built()
	told(built)
	k.layers.Scrap(context.Background(), built[0])
	name := k.records.Lease().Name()
	if err := k.layers.Build(context.Background(), name, nil); err != nil {
		k.t.Fatal(err)
	}
	return k.close
}

// TestRestartOnLayersOfImages: a layer that fits only on those of its image keeps what was built on it.
func TestRestartOnLayersOfImages(t *testing.T) {
	k := newKit(t)
	lease := k.records.Lease()
	write := func(below layer.Pile) string {
		t.Helper()
		name := lease.Name()
		if err := k.layers.Build(t.Context(), name, below); err != nil {
			t.Fatal(err)
		}
		root := must(k.layers.Root(t.Context(), name))
		if err := os.WriteFile(fmt.Sprintf("/proc/self/fd/%d/%s", root.Dir.Fd(), name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := root.Close(); err != nil {
			t.Fatal(err)
		}
		must(k.layers.Seal(t.Context(), name))
		return name
	}
	var pile layer.Pile
	var image []digest.Digest
	for range 3 {
		pile = append(pile, write(pile))
		content := digest.SHA256.Digester()
		if err := k.layers.PackPile(t.Context(), content.Hash(), pile, 1); err != nil {
			t.Fatal(err)
		}
		image = append(image, content.Digest())
	}
	if err := k.layers.Adopt(t.Context(), pile, image); err != nil {
		t.Fatal(err)
	}
	on := layer.Images(image)
	own := write(on)
	key := digest.FromString("a step")
	lease.Save(key, cache.Record{Piles: [][]string{append(on, own)}, Own: []string{own}})
	if err := k.layers.Scrap(t.Context(), lease.Release()...); err != nil {
		t.Fatal(err)
	}
	if found, err := k.builder.Check(t.Context(), false); err != nil || len(found.Faults) != 0 {
		t.Errorf("faults %v, %v", found.Faults, err)
	}
	k.close()
	k.open()
	if _, ok := k.records.Lease().Lookup(key); !ok {
		t.Error("the record is gone")
	}
}

func TestPrune(t *testing.T) {
	k := newKit(t)
	if _, err := k.build(t.Context(), "one", small, map[string]string{"a": strings.Repeat("A", 100_000)}); err != nil {
		t.Fatal(err)
	}
	list, err := k.builder.Usage(t.Context(), nil)
	if err != nil || len(list) < 4 {
		t.Fatalf("%d records, %v", len(list), err)
	}
	var copied *client.UsageInfo
	for _, u := range list {
		if u.Description == "[3/4] COPY a /b" {
			copied = u
		}
	}
	if copied == nil || copied.Size < 100_000 || len(copied.Parents) == 0 || copied.RecordType != client.UsageRecordTypeRegular {
		t.Errorf("record of COPY: %+v", copied)
	}
	if some, err := k.builder.Usage(t.Context(), []string{"type==source.local"}); err != nil || len(some) == 0 || len(some) == len(list) {
		t.Errorf("filtered: %d, %v", len(some), err)
	}
	if _, err := k.builder.Usage(t.Context(), []string{"a=!"}); !errdefs.IsInvalidArgument(err) {
		t.Error(err)
	}
	// A build that is under way keeps what it uses.
	k.pause = make(chan struct{})
	done := make(chan error)
	go func() {
		_, err := k.build(t.Context(), "two", small+"RUN wait\n", map[string]string{"a": strings.Repeat("A", 100_000)})
		done <- err
	}()
	<-k.begun
	prune := func(req client.PruneInfo) (n int) {
		t.Helper()
		if err := k.builder.Prune(t.Context(), req, func(client.UsageInfo) error { n++; return nil }); err != nil {
			t.Error(err)
		}
		return n
	}
	prune(client.PruneInfo{All: true})
	close(k.pause)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if n := prune(client.PruneInfo{MaxUsedSpace: 1 << 40}); n != 0 {
		t.Errorf("%d records went below the bound", n)
	}
	if n := prune(client.PruneInfo{All: true}); n == 0 || len(k.layers.Built()) != 0 {
		t.Errorf("%d records gone, left %v", n, k.layers.Built())
	}
	if list, _ := k.builder.Usage(t.Context(), nil); len(list) != 0 {
		t.Errorf("left: %v", list)
	}
}

func TestBudget(t *testing.T) {
	k := newKit(t, func(p *Parts) { p.Config.Policy = []Rule{{All: true, MaxUsed: 300_000}} })
	for i := range 6 {
		files := map[string]string{"a": strings.Repeat(fmt.Sprint(i), 100_000)}
		if _, err := k.build(t.Context(), "", "FROM scratch\nCOPY a /b\n", files); err != nil {
			t.Fatal(err)
		}
	}
	k.eventually("the cache is within its budget", func() bool { size, err := k.records.Size(t.Context()); return err == nil && size <= 300_000 })
}

func TestHistory(t *testing.T) {
	k := newKit(t, func(p *Parts) { p.Config.History = 3 })
	k.build(t.Context(), "bad", "FROM busybox\nRUN exit 7\n", nil)
	ask := func(req *control.BuildHistoryRequest) (refs []string, records []*control.BuildHistoryRecord) {
		t.Helper()
		req.EarlyExit = true
		if err := k.builder.Listen(t.Context(), req, func(e *control.BuildHistoryEvent) error {
			refs, records = append(refs, e.Record.Ref), append(records, e.Record)
			return nil
		}); err != nil {
			t.Error(err)
		}
		return refs, records
	}
	_, records := ask(&control.BuildHistoryRequest{Ref: "bad"})
	if len(records) != 1 || records[0].Error == nil || records[0].ExternalError == nil || records[0].Logs == nil || records[0].NumTotalSteps < 2 {
		t.Fatalf("record %v", records)
	}
	if err := k.builder.Update(t.Context(), &control.UpdateBuildHistoryRequest{Ref: "bad", Pinned: true}); err != nil {
		t.Error(err)
	}
	for i := range 5 {
		if _, err := k.build(t.Context(), fmt.Sprint("b", i), "FROM scratch\nCOPY a /b\n", map[string]string{"a": "x"}); err != nil {
			t.Fatal(err)
		}
	}
	if refs, _ := ask(&control.BuildHistoryRequest{}); !slices.Equal(refs, []string{"b4", "b3", "b2", "bad"}) {
		t.Errorf("remembered %v", refs)
	}
	if refs, _ := ask(&control.BuildHistoryRequest{Filter: []string{"status==error"}}); !slices.Equal(refs, []string{"bad"}) {
		t.Errorf("failed %v", refs)
	}
	if refs, _ := ask(&control.BuildHistoryRequest{Filter: []string{"startedAt<1h,ref~=b[34]"}}); len(refs) != 0 {
		t.Errorf("an hour ago %v", refs)
	}
	if err := k.builder.Update(t.Context(), &control.UpdateBuildHistoryRequest{Ref: "bad", Delete: true}); err != nil {
		t.Error(err)
	}
	if err := k.builder.Update(t.Context(), &control.UpdateBuildHistoryRequest{Ref: "bad", Delete: true}); !errdefs.IsNotFound(err) {
		t.Error(err)
	}
	files, _ := os.ReadDir(filepath.Join(k.dir, "build", "history"))
	if len(files) > 3 {
		t.Errorf("%d files for three builds", len(files))
	}
	if left, _ := os.ReadDir(filepath.Join(k.dir, "build", "live")); len(left) != 0 {
		t.Errorf("left of live builds: %v", left)
	}
}
