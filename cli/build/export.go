package build

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"github.com/cove-containers/cove/cli/command"
	"github.com/cove-containers/cove/ref"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/session/filesync"
)

// store is the exporter that puts images into the daemon's own store.
const store = "moby"

// exports decides where the result goes. Without any wish it becomes an image of the daemon's.
func (o *options) exports(a *command.App) ([]client.ExportEntry, error) {
	outputs, err := parseOutputs(o.outputs)
	if err != nil {
		return nil, err
	}
	outputs = o.shorthands(outputs)
	names, err := o.names()
	if err != nil {
		return nil, err
	}
	annotations, err := parseAnnotations(o.annotations)
	if err != nil {
		return nil, err
	}
	var exports []client.ExportEntry
	for _, out := range outputs {
		if out.kind == "cacheonly" {
			continue
		}
		if o.imageIDFile != "" && (out.kind == client.ExporterLocal || out.kind == client.ExporterTar) {
			return nil, errors.New("local and tar exporters are incompatible with image ID file")
		}
		for key, val := range annotations {
			out.attrs[key] = val
		}
		if o.squash {
			out.attrs["squash"] = "true"
		}
		e, err := out.export(a, names)
		if err != nil {
			return nil, err
		}
		exports = append(exports, e)
	}
	return exports, nil
}

// shorthands adds what --push and --load ask for, and the default.
func (o *options) shorthands(outputs []output) []output {
	pushed, loaded := false, false
	for _, out := range outputs {
		if out.kind == client.ExporterImage && o.push {
			out.attrs["push"] = "true"
			pushed = true
		}
		loaded = loaded || out.kind == client.ExporterDocker && out.dest == ""
	}
	if o.push && !pushed {
		outputs = append(outputs, output{kind: client.ExporterImage, attrs: map[string]string{"push": "true"}})
		loaded = true // what is pushed stays in the store, too
	}
	if o.load && !loaded || len(outputs) == 0 {
		outputs = append(outputs, output{kind: client.ExporterImage, attrs: map[string]string{}})
	}
	return outputs
}

// names checks the tags.
func (o *options) names() (string, error) {
	for _, tag := range o.tags {
		n, err := ref.Parse(tag)
		if err == nil && n.Digest != "" {
			err = errors.New("a tag cannot be a digest")
		}
		if err != nil {
			return "", fmt.Errorf("invalid tag %q: %w", tag, err)
		}
	}
	return strings.Join(o.tags, ","), nil
}

// export says how an output is called in BuildKit's protocol and opens what it writes to.
func (out output) export(a *command.App, names string) (client.ExportEntry, error) {
	e := client.ExportEntry{Type: out.kind, Attrs: out.attrs}
	switch out.kind {
	case client.ExporterImage:
		e.Type = store
	case client.ExporterDocker:
		if out.dest == "" {
			e.Type = store
			break
		}
		return out.archive(a, e, names)
	case client.ExporterOCI:
		return out.archive(a, e, names)
	case client.ExporterTar:
		return out.file(a, e)
	case client.ExporterLocal:
		return out.folder(e)
	default:
		return e, fmt.Errorf("exporter %q could not be found", out.kind)
	}
	name(&e, names)
	if e.Attrs["name"] == "" && isTrue(e.Attrs["push"]) {
		return e, errors.New("tag is needed when pushing to registry")
	}
	return e, nil
}

func name(e *client.ExportEntry, names string) {
	if names != "" {
		e.Attrs["name"] = names
	}
}

func isTrue(s string) bool {
	yes, _ := strconv.ParseBool(s)
	return yes
}

// archive writes an image as a tar archive, or as a folder when tar=false.
func (out output) archive(a *command.App, e client.ExportEntry, names string) (client.ExportEntry, error) {
	name(&e, names)
	if packed, err := strconv.ParseBool(out.attrs["tar"]); err == nil && !packed {
		return out.folder(e)
	}
	return out.file(a, e)
}

func (out output) folder(e client.ExportEntry) (client.ExportEntry, error) {
	switch st, err := os.Stat(out.dest); {
	case out.dest == "":
		return e, fmt.Errorf("dest is required for %s exporter", out.kind)
	case out.dest == "-":
		return e, fmt.Errorf("dest cannot be stdout for %s exporter", out.kind)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return e, fmt.Errorf("invalid destination directory: %s: %w", out.dest, err)
	case err == nil && !st.IsDir():
		return e, fmt.Errorf("destination directory %s is a file", out.dest)
	}
	e.OutputDir = out.dest
	return e, nil
}

// file writes to a file, made when the first byte comes: a build that fails leaves none, and an older one as it is.
func (out output) file(a *command.App, e client.ExportEntry) (client.ExportEntry, error) {
	if out.dest == "" || out.dest == "-" {
		if a.OutputIsTerminal() {
			return e, fmt.Errorf("dest file is required for %s exporter. refusing to write to console", out.kind)
		}
		e.Output = func(map[string]string) (io.WriteCloser, error) { return kept{a.Out}, nil }
		return e, nil
	}
	switch st, err := os.Stat(out.dest); {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return e, fmt.Errorf("invalid destination file: %s: %w", out.dest, err)
	case err == nil && st.IsDir():
		return e, fmt.Errorf("destination file %s is a directory", out.dest)
	}
	e.Output = filesync.FileOutputFunc(func(map[string]string) (io.WriteCloser, error) { return os.Create(out.dest) })
	return e, nil
}

// kept is a stream that others go on writing to.
type kept struct{ io.Writer }

func (kept) Close() error { return nil }
