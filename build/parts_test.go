package build

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	control "github.com/moby/buildkit/api/services/control"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/solver/pb"
	spb "github.com/moby/buildkit/sourcepolicy/pb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cove-containers/cove/build/step"
)

func TestClip(t *testing.T) {
	line := bytes.Repeat([]byte("x"), 99)
	for name, test := range map[string]struct {
		limits LogLimits
		every  time.Duration
		lines  int
		want   int // bytes, about
		says   string
	}{
		"quiet":      {LogLimits{}, time.Second, 100, 9900, ""},
		"size":       {LogLimits{Size: 1000, Speed: -1}, 0, 100, 1000, "log limit 1000B reached"},
		"speed":      {LogLimits{Size: -1, Speed: 1000}, 0, 100, 1000, "log limit 1000B/s reached"},
		"no bounds":  {LogLimits{Size: -1, Speed: -1}, 0, 1000, 99_000, ""},
		"the usual":  {LogLimits{}, 0, 3000, 100 << 10, "log limit 100KiB/s reached"},
		"over a day": {LogLimits{}, time.Second, 60_000, 2 << 20, "log limit 2MiB reached"},
	} {
		c := newClip(test.limits)
		now := c.began
		var out []byte
		for range test.lines {
			out = append(out, c.pass(line, now)...)
			now = now.Add(test.every)
		}
		got := bytes.Count(out, []byte("x"))
		if got != test.want || strings.Count(string(out), "clipped") != min(len(test.says), 1) || !strings.Contains(string(out), test.says) {
			t.Errorf("%s: %d bytes, %q", name, got, bytes.Trim(out, "x"))
		}
	}
	// Who was too fast is heard again later, and told again when he is too fast again.
	c := newClip(LogLimits{Size: -1, Speed: 100})
	first := c.pass(line, c.began)
	second := c.pass(line, c.began)
	third := c.pass(line, c.began.Add(10*time.Second))
	if len(first) != 99 || !bytes.Contains(second, []byte("clipped")) || len(third) != 99 {
		t.Errorf("%q %q %q", first, second, third)
	}
}

func TestTape(t *testing.T) {
	tape, err := newTape(filepath.Join(t.TempDir(), "tape"))
	if err != nil {
		t.Fatal(err)
	}
	const messages = 1000
	listen := func() (got string, err error) {
		err = tape.follow(t.Context(), func(s *client.SolveStatus) error {
			for _, l := range s.Logs {
				got += string(l.Data)
			}
			return nil
		})
		return got, err
	}
	var want strings.Builder
	var wait sync.WaitGroup
	heard := make([]string, 4)
	for i := range heard {
		wait.Go(func() {
			time.Sleep(time.Duration(i) * time.Millisecond)
			heard[i], _ = listen()
		})
	}
	for i := range messages {
		text := fmt.Sprintln("line", i)
		want.WriteString(text)
		tape.write(&client.SolveStatus{Logs: []*client.VertexLog{{Vertex: "sha256:1", Data: []byte(text), Timestamp: time.Now()}}})
	}
	tape.end()
	wait.Wait()
	tape.write(&client.SolveStatus{Logs: []*client.VertexLog{{Data: []byte("too late")}}})
	late, err := listen()
	for _, got := range append(heard, late) {
		if got != want.String() || err != nil {
			t.Errorf("heard %d bytes of %d, %v", len(got), want.Len(), err)
		}
	}
	stop := errors.New("client is gone")
	if err := tape.follow(t.Context(), func(*client.SolveStatus) error { return stop }); !errors.Is(err, stop) {
		t.Error(err)
	}
	raw, _ := os.ReadFile(tape.path)
	for _, cut := range [][]byte{raw[:2], raw[:10], {255, 255, 255, 255}, {4, 0, 0, 0, 255, 255, 255, 255}} {
		if err := play(bytes.NewReader(cut), func(*client.SolveStatus) error { return nil }); !errdefs.IsDataLoss(err) {
			t.Errorf("%x: %v", cut, err)
		}
	}
	// Who follows when the build lets go hears the rest.
	stopped := make(chan error)
	go func() {
		stopped <- tape.follow(t.Context(), func(*client.SolveStatus) error {
			tape.close()
			tape.discard()
			if _, err := tape.file.ReadAt(make([]byte, 1), 0); err != nil {
				t.Errorf("who follows can read no more: %v", err)
			}
			return nil
		})
	}()
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if err := tape.follow(t.Context(), nil); !errors.Is(err, errClosed) {
		t.Error("followed what is gone", err)
	}
}

func TestHistoryFilter(t *testing.T) {
	now := time.Now()
	at := func(ago time.Duration) *timestamppb.Timestamp { return timestamppb.New(now.Add(-ago)) }
	r := &control.BuildHistoryRecord{
		Ref: "abc", CreatedAt: at(2 * time.Hour), CompletedAt: at(time.Hour),
		FrontendAttrs: map[string]string{"context": "https://example.com/r.git#main"},
	}
	for text, want := range map[string]bool{
		"ref==abc": true, "ref==ab": false, "ref~=^a": true, "status==completed": true, "status!=error": true,
		"repository==https://example.com/r.git": true, "startedAt>3h": true, "startedAt>1h": false, "completedAt<30m": true,
		"duration>=1h": true, "duration>1h": false, "duration<2h,ref==abc": true, "duration<2h,ref==x": false,
		"startedAt<" + now.Format(time.RFC3339): true,
	} {
		match, err := historyFilter([]string{text})
		if err != nil || match(r) != want {
			t.Errorf("%s: %v, want %v, %v", text, err == nil && match(r), want, err)
		}
	}
	either, err := historyFilter([]string{"ref==x", "ref==abc"})
	if err != nil || !either(r) {
		t.Error("alternatives", err)
	}
	for _, text := range []string{"startedAt<yesterday", "duration>long", "ref+abc"} {
		if _, err := historyFilter([]string{text}); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// bare is a build without a builder behind it, to load definitions into.
func bare(t testing.TB) *build {
	t.Helper()
	maker := func(*pb.Op, step.Vertex) (step.Op, error) { return &played{}, nil }
	b := &Builder{parts: Parts{Make: Makers{Source: maker, Exec: maker, File: maker, Merge: maker, Diff: maker}}}
	tape, err := newTape(filepath.Join(t.TempDir(), "tape"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tape.discard)
	return &build{
		builder: b, progress: newProgress(tape), vertices: map[vertexKey]*vertex{}, nodes: map[*node]*vertex{},
	}
}

func definition(t testing.TB, s llb.State) *pb.Definition {
	t.Helper()
	def, err := s.Marshal(context.Background(), llb.LinuxAmd64)
	if err != nil {
		t.Fatal(err)
	}
	return def.ToPB()
}

func example(t testing.TB) *pb.Definition {
	base := llb.Image("docker.io/library/busybox:latest")
	one := base.Run(llb.Shlex("echo one"), llb.WithCustomName("first")).Root()
	two := base.Run(llb.Shlex("echo two"), llb.IgnoreCache).Root()
	merged := llb.Merge([]llb.State{one, llb.Diff(base, two)})
	return definition(t, merged.File(llb.Copy(one, "/a", "/b").Mkdir("/c", 0o755)))
}

func TestLoad(t *testing.T) {
	b := bare(t)
	e, err := b.load(t.Context(), example(t), policies{})
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, v := range b.nodes {
		names[v.Name] = true
		if v.node.Anew != (v.Name == "echo two") || v.Platform.Architecture != "amd64" {
			t.Errorf("%s: anew %v, %v", v.Name, v.node.Anew, v.Platform)
		}
	}
	for _, want := range []string{
		"docker-image://docker.io/library/busybox:latest", "first", "echo two",
		"diff (docker-image://docker.io/library/busybox:latest) -> (echo two)", "copy /a /b, mkdir /c",
	} {
		if !names[want] {
			t.Errorf("no step %q in %v", want, names)
		}
	}
	// The same definition again is the same steps.
	again, err := b.load(t.Context(), example(t), policies{})
	if err != nil || again.Node != e.Node || len(b.nodes) != len(names) {
		t.Error("loaded twice", err, len(b.nodes))
	}
	// Under other rules they are others.
	rules := policies{[]*spb.Policy{{Rules: []*spb.Rule{{
		Action:   spb.PolicyAction_CONVERT,
		Selector: &spb.Selector{Identifier: "docker-image://docker.io/library/busybox:latest"},
		Updates:  &spb.Update{Identifier: "docker-image://docker.io/library/alpine:3"},
	}}}}}
	if other, err := b.load(t.Context(), example(t), rules); err != nil || other.Node == e.Node {
		t.Error("under rules:", err)
	}
	deny := policies{[]*spb.Policy{{Rules: []*spb.Rule{{Action: spb.PolicyAction_DENY, Selector: &spb.Selector{Identifier: "docker-image://*"}}}}}}
	if _, err := b.load(t.Context(), example(t), deny); !errdefs.IsPermissionDenied(err) {
		t.Error("denied:", err)
	}
	for _, bad := range []policies{{[]*spb.Policy{nil}}, {[]*spb.Policy{{Rules: []*spb.Rule{{}}}}}} {
		if _, err := b.load(t.Context(), example(t), bad); !errdefs.IsInvalidArgument(err) {
			t.Error("broken rules:", err)
		}
	}
}

func TestLoadRefuses(t *testing.T) {
	host := definition(t, llb.Image("a").Run(llb.Shlex("x"), llb.Network(pb.NetMode_HOST)).Root())
	insecure := definition(t, llb.Image("a").Run(llb.Shlex("x"), llb.Security(pb.SecurityMode_INSECURE)).Root())
	device := definition(t, llb.Image("a").Run(llb.Shlex("x"), llb.AddCDIDevice(llb.CDIDeviceName("v.example/d=0"))).Root())
	for name, def := range map[string]*pb.Definition{
		"network.host": host, "security.insecure": insecure, "device": device, "device=v.example/d=0": device,
	} {
		b := bare(t)
		if _, err := b.load(t.Context(), def, policies{}); !errdefs.IsPermissionDenied(err) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
		b.request.Entitlements = []string{name}
		if _, err := b.load(t.Context(), def, policies{}); err != nil {
			t.Errorf("%s allowed: %v", name, err)
		}
	}
	another := bare(t)
	another.request.Entitlements = []string{"device=v.example/d=1"}
	if _, err := another.load(t.Context(), device, policies{}); !errdefs.IsPermissionDenied(err) {
		t.Errorf("another device than was allowed: %v", err)
	}
	whole := example(t)
	missing := &pb.Definition{Def: whole.Def[1:], Metadata: whole.Metadata}
	located := &pb.Definition{Def: whole.Def, Source: &pb.Source{Locations: map[string]*pb.Locations{"x": {Locations: []*pb.Location{{SourceIndex: 3}}}}}}
	clouds := &pb.Definition{Def: whole.Def, Metadata: map[string]*pb.OpMetadata{"x": {Caps: map[string]bool{"cache.gha": true}}}}
	for name, def := range map[string]*pb.Definition{
		"empty": {}, "garbage": {Def: [][]byte{{1, 2, 3}}}, "no end": {Def: whole.Def[:1]}, "missing": missing, "located": located, "clouds": clouds,
	} {
		if _, err := bare(t).load(t.Context(), def, policies{}); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzLoad feeds definitions from strangers: whatever they are, loading ends with steps or an error.
func FuzzLoad(f *testing.F) {
	raw, err := example(f).MarshalVT()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, raw []byte) {
		def := &pb.Definition{}
		if def.UnmarshalVT(raw) != nil {
			return
		}
		b := bare(t)
		b.load(t.Context(), def, policies{})
	})
}

func FuzzTape(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, raw []byte) {
		play(bytes.NewReader(raw), func(*client.SolveStatus) error { return nil })
	})
}
