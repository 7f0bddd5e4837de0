package buildkit

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	"github.com/moby/buildkit/frontend/dockerui"
	gwclient "github.com/moby/buildkit/frontend/gateway/client"
	gateway "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/identity"
	solvererrs "github.com/moby/buildkit/solver/errdefs"
	bt "github.com/moby/moby/api/types/build"
	js "github.com/moby/moby/api/types/jsonstream"
	"golang.org/x/sync/errgroup"

	"github.com/cove-containers/cove/api"
	"github.com/cove-containers/cove/build"
	"github.com/cove-containers/cove/buildkit/classic"
	"github.com/cove-containers/cove/ref"
)

// Emit takes one message of a build's stream.
type Emit = func(js.Message) error

// Build is the classic call: a context in the body, or somewhere else, becomes an image. What emit gets are lines of
// text in the first builder's words, or with version 2 BuildKit's progress. A command that fails is an *api.BuildFailure.
func (d *Door) Build(ctx context.Context, o api.BuildOptions, body io.Reader, emit func(js.Message) error) error {
	if id, ok := strings.CutPrefix(o.ID, uploadPrefix); ok && o.BuildKit {
		return d.uploads.bring(ctx, id, body)
	}
	ctx, done := d.cancels.watch(ctx, o.ID)
	defer done()
	if err := check(o); err != nil {
		return err
	}
	request := build.Request{ID: identity.NewID(), FrontEnd: "dockerfile.v0", Options: optionsOf(o), Exporters: exportersOf(o)}
	if err := d.hosts(o.ExtraHosts, request.Options); err != nil {
		return err
	}
	if o.Network == "host" {
		request.Entitlements = []string{"network.host"}
	}
	if err := d.allowed(request.Entitlements); err != nil {
		return err
	}
	for _, from := range o.CacheFrom {
		request.CacheImports = append(request.CacheImports, gwclient.CacheOptionsEntry{Type: "registry", Attrs: map[string]string{"ref": from}})
	}
	if inline := o.Args["BUILDKIT_INLINE_CACHE"]; inline != nil && (*inline == "1" || *inline == "true") {
		request.CacheExports = []gwclient.CacheOptionsEntry{{Type: "inline"}}
	}
	end, err := d.context(ctx, o, body, &request)
	if err != nil {
		return err
	}
	defer end()
	if o.BuildKit {
		return d.modern(ctx, request, emit)
	}
	return d.first(ctx, o, request, emit)
}

// CancelBuild ends the build of that ID, if it is running.
func (d *Door) CancelBuild(id string) { d.cancels.cancel(id) }

func check(o api.BuildOptions) error {
	if o.Session == "" && o.Remote == clientSession {
		return errdefs.ErrInvalidArgument.WithMessage("a context in the client's session needs a session")
	}
	for _, tag := range o.Tags {
		name, err := ref.Parse(tag)
		if err != nil {
			return err
		}
		if name.Digest != "" {
			return errdefs.ErrInvalidArgument.WithMessage("refusing to create a tag with a digest reference")
		}
	}
	return nil
}

// modern tells progress as BuildKit's clients of the classic call understand it.
func (d *Door) modern(ctx context.Context, request build.Request, emit Emit) error {
	id, err := d.run(ctx, request, func(s *client.SolveStatus) error {
		for _, part := range s.Marshal() {
			raw, err := part.MarshalVT()
			if err != nil {
				return err
			}
			if err := aux(emit, "moby.buildkit.trace", raw); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil || id == "" {
		return err
	}
	return aux(emit, "moby.image.id", bt.Result{ID: id})
}

// first tells progress as the first builder did.
func (d *Door) first(ctx context.Context, o api.BuildOptions, request build.Request, emit Emit) error {
	say := func(text string) error {
		if o.Quiet {
			return nil
		}
		return emit(js.Message{Stream: text})
	}
	var printer *classic.Printer
	var written *classic.Steps
	read := make(chan *classic.Steps, 1)
	request.Front = func(ctx context.Context, c gwclient.Client) (*gwclient.Result, error) {
		if steps := readSteps(ctx, c, o.Target); steps != nil {
			read <- steps
		}
		return c.Solve(ctx, gwclient.SolveRequest{Frontend: request.FrontEnd, FrontendOpt: c.BuildOpts().Opts})
	}
	var early []*client.SolveStatus // what is told before the Dockerfile is read
	var warning string
	id, err := d.run(ctx, request, func(s *client.SolveStatus) error {
		warning = cmp.Or(warning, unconsumed(s))
		if printer == nil {
			select {
			case written = <-read:
				printer = classic.NewPrinter(written, say)
				for _, before := range early {
					if err := printer.Update(before); err != nil {
						return err
					}
				}
			default:
				early = append(early, s)
				return nil
			}
		}
		return printer.Update(s)
	})
	if printer != nil {
		if told := printer.Finish(err != nil); err == nil {
			err = told
		}
	}
	if err != nil {
		return classicFailure(err)
	}
	if warning != "" {
		if err := say(warning); err != nil {
			return err
		}
	}
	return finish(o, id, say, emit)
}

// unconsumed finds the warning of build arguments that the Dockerfile does not ask for, the only one that the first builder gave.
func unconsumed(s *client.SolveStatus) (line string) {
	for _, w := range s.Warnings {
		if strings.HasPrefix(string(w.Short), build.Unconsumed) {
			line = string(w.Short) + "\n"
		}
	}
	return line
}

// finish tells the names of what was built.
func finish(o api.BuildOptions, id string, say func(string) error, emit Emit) error {
	if id == "" {
		return nil // brought somewhere else than to the images
	}
	if o.Quiet {
		return emit(js.Message{Stream: id + "\n"})
	}
	if err := aux(emit, "", bt.Result{ID: id}); err != nil {
		return err
	}
	_, hex, _ := strings.Cut(id, ":")
	lines := "Successfully built " + hex[:min(12, len(hex))] + "\n"
	if err := say(lines); err != nil {
		return err
	}
	for _, tag := range o.Tags {
		name, err := ref.ParseTagged(tag)
		if err != nil {
			return err
		}
		if err := say("Successfully tagged " + name.Familiar() + "\n"); err != nil {
			return err
		}
	}
	return nil
}

// readSteps reads the Dockerfile as the front end is about to. What is wrong with it is the front end's to say.
func readSteps(ctx context.Context, c gwclient.Client, target string) *classic.Steps {
	ui, err := dockerui.NewClient(c)
	if err != nil {
		return nil
	}
	source, err := ui.ReadEntrypoint(ctx, "Dockerfile")
	if err != nil {
		return nil
	}
	steps, err := classic.Read(source.Data, target)
	if err != nil {
		return nil
	}
	return steps
}

// run builds, with progress to emit, and gives the image's ID, if there is one.
func (d *Door) run(ctx context.Context, request build.Request, emit func(*client.SolveStatus) error) (id string, err error) {
	all, ctx := errgroup.WithContext(ctx)
	all.Go(func() error {
		done, err := d.Builder.Solve(ctx, request)
		if err == nil {
			id = done.Exporter[exptypes.ExporterImageDigestKey]
		}
		return err
	})
	var told error
	all.Go(func() error {
		// The build's own failure counts, and what the client could still be told.
		watching, cancel := withGrace(ctx)
		defer cancel()
		told = d.Builder.Status(watching, request.ID, emit)
		return nil
	})
	if err := all.Wait(); err != nil {
		return "", err
	}
	return id, told
}

// withGrace lets the last of a failed build's progress arrive.
func withGrace(ctx context.Context) (context.Context, context.CancelFunc) {
	late, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(time.Second, cancel) })
	return late, func() { stop(); cancel() }
}

func aux(emit Emit, id string, value any) error {
	raw, err := json.Marshal(value)
	if err != nil {
		return err
	}
	message := json.RawMessage(raw)
	return emit(js.Message{ID: id, Aux: &message})
}

// classicFailure says of a command that failed what the first builder said.
func classicFailure(err error) error {
	var exit *gateway.ExitError
	if !errors.As(err, &exit) {
		// A base image that cannot be had is named in its error, and nothing is wrong in the line that asks for it.
		base := strings.Contains(err.Error(), "failed to resolve source metadata for ")
		if sources := solvererrs.Sources(err); len(sources) > 0 && !base {
			return errdefs.ErrInvalidArgument.WithMessage(withLine(err, sources[0]))
		}
		return err
	}
	command := classic.Command(err.Error())
	if command == "" || !strings.HasSuffix(err.Error(), fmt.Sprintf("exit code: %d", exit.ExitCode)) { // it did not even begin
		return &api.BuildFailure{Message: err.Error(), Code: int(exit.ExitCode)}
	}
	return &api.BuildFailure{
		Message: fmt.Sprintf("The command '%s' returned a non-zero code: %d", command, exit.ExitCode), Code: int(exit.ExitCode),
	}
}

// withLine says in which line of the Dockerfile an error is, for clients that show no excerpt of it.
func withLine(err error, where *solvererrs.Source) string {
	text := err.Error()
	var step *solvererrs.VertexError
	if len(where.Ranges) == 0 || where.Ranges[0].Start == nil || strings.Contains(text, "parse error") || errors.As(err, &step) {
		return text // what a step says names what it is about
	}
	return fmt.Sprintf("dockerfile parse error on line %d: %s", where.Ranges[0].Start.Line, text)
}
