package classic

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/moby/buildkit/client"
	"github.com/opencontainers/go-digest"
)

const dockerfile = `ARG T=latest
FROM busybox:$T AS Tools
RUN echo one
FROM alpine AS unused
RUN false
FROM scratch
ENV a=1
COPY --from=tools /bin /bin
WORKDIR /w
CMD ["sh"]
`

func TestSteps(t *testing.T) {
	s, err := Read([]byte(dockerfile), "")
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, step := range s.List {
		list = append(list, step.Text)
	}
	want := "ARG T=latest|FROM busybox:$T AS Tools|RUN echo one|FROM alpine AS unused|RUN false|FROM scratch|ENV a=1|COPY --from=tools /bin /bin|WORKDIR /w|CMD [\"sh\"]"
	if got := strings.Join(list, "|"); got != want {
		t.Errorf("%s", got)
	}
	for name, step := range map[string]int{
		"[tools 1/2] FROM docker.io/library/busybox:latest": 1,
		"[Tools 2/2] RUN echo one":                          2,
		"[linux/amd64 tools 2/2] RUN echo one":              2,
		"[stage-2 1/2] COPY --from=tools /bin /bin":         7,
		"[stage-2 2/2] WORKDIR /w":                          8,
		"[unused 2/2] RUN false":                            4,
		"[internal] load build definition":                  -1,
		"exporting to image":                                -1,
		"[nobody 1/2] RUN x":                                -1,
		"[tools 9/9999999999999999999999] RUN x":            -1,
	} {
		if got := s.locate(name, map[int]int{}); got != step {
			t.Errorf("%s: step %d, want %d", name, got, step)
		}
	}
	// Of three instructions that the base has its children follow, one makes something.
	inherited := map[int]int{}
	for i, name := range []string{"[tools 1/5] FROM x", "[tools 2/5] ONBUILD RUN x", "[tools 3/5] RUN echo one"} {
		if got := s.locate(name, inherited); got != []int{1, 1, 2}[i] {
			t.Errorf("%s: step %d", name, got)
		}
	}
	if upTo, _ := Read([]byte(dockerfile), "TOOLS"); len(upTo.List) != 3 {
		t.Errorf("a target's steps: %+v", upTo.List)
	}
	if s.needed[1] || !s.needed[0] {
		t.Errorf("needed: %v", s.needed)
	}
}

// TestOrder: steps are told in the order they are written in, whatever order they run in.
func TestOrder(t *testing.T) {
	s, err := Read([]byte("FROM a AS x\nRUN one\nFROM b\nENV e=f\nRUN two\nCOPY --from=x / /\n"), "")
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	p := NewPrinter(s, func(text string) error { out.WriteString(text); return nil })
	now := time.Now()
	step := func(name string, done, cached bool, said string) {
		v := &client.Vertex{Digest: digest.FromString(name), Name: name, Started: &now, Cached: cached}
		if done {
			v.Completed = &now
		}
		status := &client.SolveStatus{Vertexes: []*client.Vertex{v}}
		if said != "" {
			status.Logs = []*client.VertexLog{{Vertex: v.Digest, Data: []byte(said)}}
		}
		if err := p.Update(status); err != nil {
			t.Fatal(err)
		}
	}
	step("[stage-1 2/3] RUN two", true, false, "two says\n")
	step("[x 1/2] FROM docker.io/library/a", true, true, "")
	step("[x 2/2] RUN one", false, false, "one begins\n")
	if got := out.String(); !strings.HasSuffix(got, "Step 2/6 : RUN one\none begins\n") || strings.Contains(got, "two") {
		t.Errorf("so far:\n%s", got)
	}
	step("[x 2/2] RUN one", true, false, "one ends\n")
	step("[stage-1 3/3] COPY --from=x / /", true, false, "")
	if err := p.Finish(false); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(out.String(), "\n")
	var kept []string
	for _, l := range lines {
		if !strings.HasPrefix(l, " ---> ") || strings.Contains(l, "cache") {
			kept = append(kept, l)
		}
	}
	want := "Step 1/6 : FROM a AS x| ---> Using cache|Step 2/6 : RUN one|one begins|one ends|Step 3/6 : FROM b|Step 4/6 : ENV e=f|Step 5/6 : RUN two|two says|Step 6/6 : COPY --from=x / /|"
	if got := strings.Join(kept, "|"); got != want {
		t.Errorf("%s", got)
	}
}

// TestOrderOfWhatStandsAlone: COPY --link is done before the steps that are written before it, which are told first all the same.
func TestOrderOfWhatStandsAlone(t *testing.T) {
	s, err := Read([]byte("FROM a\nRUN slow\nCOPY --link f /\nADD --link g /\n"), "")
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	p := NewPrinter(s, func(text string) error { out.WriteString(text); return nil })
	now := time.Now()
	for _, name := range []string{"[1/4] FROM a", "[3/4] COPY --link f /", "[4/4] ADD --link g /", "[2/4] RUN slow"} {
		v := &client.Vertex{Digest: digest.FromString(name), Name: name, Started: &now, Completed: &now}
		if err := p.Update(&client.SolveStatus{Vertexes: []*client.Vertex{v}, Logs: []*client.VertexLog{{Vertex: v.Digest, Data: []byte("by " + name + "\n")}}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Finish(false); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); !strings.Contains(got, "Step 2/4 : RUN slow\nby [2/4] RUN slow\n") || strings.Count(got, "\nby ") != 4 {
		t.Error(got)
	}
}

// TestFailure: what failed is told last, and nothing that would have come after it.
func TestFailure(t *testing.T) {
	s, _ := Read([]byte("FROM a\nRUN fails\nRUN never\n"), "")
	var out strings.Builder
	p := NewPrinter(s, func(text string) error { out.WriteString(text); return nil })
	now := time.Now()
	failing := &client.Vertex{Digest: digest.FromString("f"), Name: "[2/3] RUN fails", Started: &now, Completed: &now, Error: "exit code: 1"}
	_ = p.Update(&client.SolveStatus{Vertexes: []*client.Vertex{failing}, Logs: []*client.VertexLog{{Vertex: failing.Digest, Data: []byte("no!\n")}}})
	_ = p.Finish(true)
	if got := out.String(); got != "Step 1/3 : FROM a\nStep 2/3 : RUN fails\nno!\n" {
		t.Errorf("%q", got)
	}
	full := errors.New("disk full")
	p = NewPrinter(s, func(string) error { return full })
	if err := p.Update(&client.SolveStatus{}); !errors.Is(err, full) {
		t.Errorf("%v", err)
	}
}

func TestCommand(t *testing.T) {
	for failure, want := range map[string]string{
		`failed to solve: process "/bin/sh -c exit 7" did not complete successfully: exit code: 7`: "/bin/sh -c exit 7",
		`process "/bin/sh -c echo \"a\"" did not complete successfully: exit code: 1`:              `/bin/sh -c echo "a"`,
		"something else": "",
	} {
		if got := Command(failure); got != want {
			t.Errorf("%s: %q", failure, got)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(dockerfile), "tools", "[tools 2/2] RUN x")
	f.Fuzz(func(t *testing.T, text []byte, target, name string) {
		s, err := Read(text, target)
		if err != nil {
			return
		}
		if i := s.locate(name, map[int]int{}); i >= len(s.List) {
			t.Errorf("step %d of %d", i, len(s.List))
		}
		p := NewPrinter(s, func(string) error { return nil })
		if err := p.Finish(false); err != nil {
			t.Error(err)
		}
	})
}
