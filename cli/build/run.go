package build

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"time"

	"github.com/cove-containers/cove/cli/command"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	"github.com/moby/buildkit/solver/errdefs"
	_ "github.com/moby/buildkit/util/grpcutil/encoding/proto" // messages travel in their fast form
	"github.com/tonistiigi/fsutil"
)

// patience is how long a build that was told to stop may take to end in good order.
const patience = 3 * time.Second

// job is a build all of whose options are settled.
type job struct {
	*options
	opt      client.SolveOpt
	input    *input
	question *question // nil to build
	daemon   *client.Client
}

// passthrough is how gRPC is told not to look an address up: the daemon's client knows where it is.
const passthrough = "passthrough:///cove"

// run builds, and shows how that goes.
func run(ctx context.Context, a *command.App, o *options) error {
	err := build(ctx, a, o)
	var status *command.StatusError
	if err == nil || errors.As(err, &status) {
		return err
	}
	for _, s := range errdefs.Sources(err) {
		_ = s.Print(a.Err) // the lines of the Dockerfile that the error is about
	}
	return &command.StatusError{Code: exitCode(ctx), Text: fmt.Sprintf("ERROR: %v", err), Cause: err}
}

// exitCode is 130 when the user has stopped the build, as of every program that an interrupt ends.
func exitCode(ctx context.Context) int {
	if ctx.Err() != nil {
		return 130
	}
	return 1
}

func build(ctx context.Context, a *command.App, o *options) error {
	if err := o.settle(); err != nil {
		return err
	}
	if o.imageIDFile != "" { // an ID of an earlier build must not be taken for this one's
		if err := os.Remove(o.imageIDFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("removing image ID file: %w", err)
		}
	}
	j, err := o.prepare(a)
	if err != nil {
		return err
	}
	defer j.input.release()
	display, err := newDisplay(a, o.progress)
	if err != nil {
		return err
	}
	if err = j.dial(a); err != nil {
		return err
	}
	res, err := j.bounded(ctx, display)
	warnings := display.close()
	display.warn(a, warnings) // of a build that failed as well: the progress shows only those that come while their step does something
	if err != nil {
		return err
	}
	return j.finish(a, res, warnings)
}

// prepare decides all there is to decide without the daemon.
func (o *options) prepare(a *command.App) (*job, error) {
	j := &job{options: o, opt: client.SolveOpt{
		Frontend: "dockerfile.v0", FrontendAttrs: map[string]string{}, LocalMounts: map[string]fsutil.FS{},
	}}
	var err error
	if j.question, err = parseCall(o.call); err != nil {
		return nil, err
	}
	connection, err := a.Client()
	if err != nil {
		return nil, err
	}
	if err = o.frontend(a, connection.Host(), &j.opt); err != nil {
		return nil, err
	}
	if err = o.caches(&j.opt); err != nil {
		return nil, err
	}
	if j.opt.SourcePolicy, err = sourcePolicy(); err != nil {
		return nil, err
	}
	if j.question == nil {
		if j.opt.Exports, err = o.exports(a); err != nil {
			return nil, err
		}
	}
	if j.opt.Session, err = o.attachables(a.ConfigFile()); err != nil {
		return nil, err
	}
	j.opt.Internal = j.question != nil
	j.input, err = o.inputs(a.In, &j.opt)
	return j, err
}

// dial makes BuildKit's client of the daemon, which begins to connect.
func (j *job) dial(a *command.App) error {
	connection, err := a.Client()
	if err != nil {
		return err
	}
	control := func(ctx context.Context, _ string) (net.Conn, error) { return connection.BuildControl(ctx) }
	j.daemon, err = client.New(context.Background(), passthrough, client.WithContextDialer(control), client.WithSessionDialer(connection.BuildSession))
	return err
}

// bounded solves, and leaves when the user has stopped the build and the daemon takes its time to say so.
func (j *job) bounded(ctx context.Context, d *display) (*client.SolveResponse, error) {
	defer j.daemon.Close()
	type answer struct {
		res *client.SolveResponse
		err error
	}
	done := make(chan answer, 1)
	go func() {
		res, err := j.solve(ctx, d)
		done <- answer{res, err}
	}()
	select {
	case got := <-done:
		return got.res, got.err
	case <-ctx.Done():
	}
	select {
	case got := <-done:
		return got.res, got.err
	case <-time.After(patience):
		d.abandon()
		return nil, context.Cause(ctx)
	}
}

func (j *job) solve(ctx context.Context, d *display) (*client.SolveResponse, error) {
	hosts, err := j.addHosts(ctx, j.daemon)
	if err != nil {
		return nil, err
	}
	if hosts != "" {
		j.opt.FrontendAttrs["add-hosts"] = hosts
	}
	if j.input.fetch != "" {
		if err := j.fetchDockerfile(ctx, d); err != nil {
			return nil, err
		}
	}
	if j.question != nil {
		return j.ask(ctx, d)
	}
	return j.daemon.Solve(ctx, nil, j.opt, d.channel())
}

// finish tells what came out.
func (j *job) finish(a *command.App, res *client.SolveResponse, warnings []client.VertexWarning) error {
	if j.progress == "quiet" {
		fmt.Fprintln(a.Out, imageID(res.ExporterResponse))
	}
	if j.imageIDFile != "" {
		if err := os.WriteFile(j.imageIDFile, []byte(imageID(res.ExporterResponse)), 0o644); err != nil {
			return fmt.Errorf("writing image ID file: %w", err)
		}
	}
	if j.metadataFile != "" {
		if err := writeMetadata(j.metadataFile, res.ExporterResponse, warnings); err != nil {
			return err
		}
	}
	if j.question != nil {
		return j.question.show(a.Out, res.ExporterResponse, j.input.source)
	}
	if text := res.ExporterResponse["frontend.result.inlinemessage"]; text != "" {
		fmt.Fprintf(a.Out, "\n%s\n", text)
	}
	return nil
}

// imageID is the digest of the image's configuration; what has none is known by its manifest.
func imageID(response map[string]string) string {
	if id := response[exptypes.ExporterImageConfigDigestKey]; id != "" {
		return id
	}
	return response[exptypes.ExporterImageDigestKey]
}
