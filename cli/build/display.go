package build

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/cove-containers/cove/cli/command"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/solver/errdefs"
	"github.com/moby/buildkit/util/progress/progressui"
)

// display shows a build's progress on standard error. Several calls of the daemon, one after another, can feed it.
type display struct {
	mode     progressui.DisplayMode
	status   chan *client.SolveStatus
	warnings []client.VertexWarning
	feeds    sync.WaitGroup
	shown    chan struct{}   // closed when all is shown
	left     <-chan struct{} // closed when nobody waits for feeds any more
	abandon  func()
}

func newDisplay(a *command.App, mode string) (*display, error) {
	ctx, cancel := context.WithCancel(context.Background())
	d := &display{
		mode: progressui.DisplayMode(mode), status: make(chan *client.SolveStatus), shown: make(chan struct{}), left: ctx.Done(), abandon: cancel,
	}
	daemon, err := a.Client()
	if err != nil {
		return nil, err
	}
	ui, err := progressui.NewDisplay(a.Err, d.mode, progressui.WithDesc("building with Cove at "+daemon.Host(), "cove:"+a.ContextName()))
	if err != nil {
		return nil, err
	}
	go func() {
		defer close(d.shown)
		d.warnings, _ = ui.UpdateFrom(ctx, d.status)
	}()
	return d, nil
}

// channel is a new feed, which whoever gets it closes.
func (d *display) channel() chan *client.SolveStatus {
	feed := make(chan *client.SolveStatus)
	d.feeds.Go(func() {
		for s := range feed {
			select {
			case d.status <- s:
			case <-d.left:
			}
		}
	})
	return feed
}

// close waits until all feeds have ended and all is shown, and gives the warnings among it, each once. After abandon it does
// not wait.
func (d *display) close() []client.VertexWarning {
	ended := make(chan struct{})
	go func() {
		d.feeds.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		close(d.status)
	case <-d.left:
	}
	<-d.shown
	d.abandon()
	var once []client.VertexWarning
	for _, w := range d.warnings {
		if !slices.ContainsFunc(once, func(o client.VertexWarning) bool { return sameWarning(o, w) }) {
			once = append(once, w)
		}
	}
	return once
}

// sameWarning tells whether two steps, of two platforms for instance, say the same of the same place.
func sameWarning(x, y client.VertexWarning) bool {
	if string(x.Short) != string(y.Short) || x.URL != y.URL || len(x.Range) != len(y.Range) {
		return false
	}
	for i := range x.Range {
		if x.Range[i].Start.GetLine() != y.Range[i].Start.GetLine() {
			return false
		}
	}
	return x.SourceInfo.GetFilename() == y.SourceInfo.GetFilename()
}

// warn lists the warnings; with --debug it says more of each.
func (d *display) warn(a *command.App, warnings []client.VertexWarning) {
	if len(warnings) == 0 || d.mode == progressui.QuietMode || d.mode == progressui.RawJSONMode {
		return
	}
	found := "1 warning found"
	if len(warnings) > 1 {
		found = fmt.Sprintf("%d warnings found", len(warnings))
	}
	if !a.Global.Debug {
		found += " (use " + command.Name + " --debug to expand)"
	}
	fmt.Fprintf(a.Err, "\n %s:\n", found)
	for _, w := range warnings {
		fmt.Fprintf(a.Err, " - %s\n", w.Short)
		if a.Global.Debug {
			expand(a.Err, w)
		}
	}
}

func expand(out io.Writer, w client.VertexWarning) {
	for _, line := range w.Detail {
		fmt.Fprintf(out, "%s\n", line)
	}
	if w.URL != "" {
		fmt.Fprintf(out, "More info: %s\n", w.URL)
	}
	if w.SourceInfo != nil && w.Range != nil {
		_ = (&errdefs.Source{Info: w.SourceInfo, Ranges: w.Range}).Print(out)
	}
	fmt.Fprintln(out)
}

// writeMetadata writes what the exporters answered as JSON. What they sent as JSON in base64 stands there as JSON.
func writeMetadata(path string, response map[string]string, warnings []client.VertexWarning) error {
	out := map[string]any{}
	for key, val := range response {
		out[key] = val
		raw, err := base64.StdEncoding.DecodeString(val)
		if key == "result.json" {
			raw, err = []byte(val), nil
		}
		if err == nil && len(raw) > 0 && (raw[0] == '{' || raw[0] == '[') && json.Valid(raw) {
			out[key] = json.RawMessage(raw)
		}
	}
	if isTrue(os.Getenv("BUILDX_METADATA_WARNINGS")) && len(warnings) > 0 {
		out["buildx.build.warnings"] = warnings
	}
	raw, err := json.MarshalIndent(out, "", "  ")
	if err != nil {
		return err
	}
	temp, err := os.CreateTemp(filepath.Dir(path), ".metadata-*")
	if err != nil {
		return fmt.Errorf("write metadata: %w", err)
	}
	defer os.Remove(temp.Name())
	_, err = temp.Write(raw)
	if err == nil {
		err = temp.Chmod(0o644)
	}
	if closed := temp.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return fmt.Errorf("write metadata: %w", err)
	}
	return os.Rename(temp.Name(), path)
}
