package command

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/cove-containers/cove/cli/format"
	"github.com/cove-containers/cove/client"
)

// Finder describes one object, decoded and as the daemon sent it.
type Finder func(ctx context.Context, daemon *client.Client, name string) (typed any, raw []byte, err error)

// InspectAll shows objects: as indented JSON, as JSON, or by a template. Those that cannot be found are reported at
// the end, with code 1.
func (a *App) InspectAll(ctx context.Context, names []string, layout string, find Finder) error {
	daemon, err := a.Client()
	if err != nil {
		return err
	}
	var shown *format.Inspector
	if layout != "" && layout != "json" {
		if shown, err = format.NewInspector(layout); err != nil {
			return &StatusError{Code: 64, Text: err.Error(), Cause: err}
		}
	}
	var errs []error
	var raws [][]byte
	for _, name := range names {
		typed, raw, err := find(ctx, daemon, name)
		if err == nil && shown != nil {
			err = shown.Add(typed, raw)
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		raws = append(raws, bytes.TrimSpace(raw))
	}
	if shown != nil {
		err = shown.Flush(a.Out)
	} else {
		err = a.ShowRaw(raws, layout == "json")
	}
	if err != nil {
		return err
	}
	if err := errors.Join(errs...); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return &StatusError{Code: 1, Text: err.Error(), Cause: err}
	}
	return nil
}

// ShowRaw prints objects as one JSON list.
func (a *App) ShowRaw(raws [][]byte, compact bool) error {
	list := append(append([]byte{'['}, bytes.Join(raws, []byte{','})...), ']')
	var err error
	if compact {
		var b bytes.Buffer
		err = json.Compact(&b, list)
		list = b.Bytes()
	} else {
		list, err = format.Indent(list)
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.Out, "%s\n", list)
	return err
}

// Describe makes the result of a Finder of what the client returns.
func Describe[T any](typed T, raw []byte, err error) (any, []byte, error) { return typed, raw, err }
