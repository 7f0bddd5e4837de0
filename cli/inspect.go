package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/cove-containers/cove/cli/format"
	"github.com/cove-containers/cove/client"
	"github.com/spf13/cobra"
)

// finder describes one object, decoded and as the daemon sent it.
type finder func(ctx context.Context, daemon *client.Client, name string) (typed any, raw []byte, err error)

// inspectAll shows objects: as indented JSON, as JSON, or by a template. Those that cannot be found are reported at
// the end, with code 1.
func (a *app) inspectAll(ctx context.Context, names []string, layout string, find finder) error {
	daemon, err := a.client()
	if err != nil {
		return err
	}
	var shown *format.Inspector
	if layout != "" && layout != "json" {
		if shown, err = format.NewInspector(layout); err != nil {
			return &statusError{code: 64, text: err.Error(), cause: err}
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
		err = shown.Flush(a.out)
	} else {
		err = a.showRaw(raws, layout == "json")
	}
	if err != nil {
		return err
	}
	if err := errors.Join(errs...); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return &statusError{code: 1, text: err.Error(), cause: err}
	}
	return nil
}

// showRaw prints objects as one JSON list.
func (a *app) showRaw(raws [][]byte, compact bool) error {
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
	_, err = fmt.Fprintf(a.out, "%s\n", list)
	return err
}

func findContainer(size bool) finder {
	return func(ctx context.Context, daemon *client.Client, name string) (any, []byte, error) {
		return describe(daemon.ContainerInspect(ctx, name, size))
	}
}

func findImage(ctx context.Context, daemon *client.Client, name string) (any, []byte, error) {
	return describe(daemon.ImageInspect(ctx, name, nil))
}

func findNetwork(ctx context.Context, daemon *client.Client, name string) (any, []byte, error) {
	return describe(daemon.NetworkInspect(ctx, name, false))
}

func findVolume(ctx context.Context, daemon *client.Client, name string) (any, []byte, error) {
	return describe(daemon.VolumeInspect(ctx, name))
}

func describe[T any](typed T, raw []byte, err error) (any, []byte, error) { return typed, raw, err }

func (a *app) inspect() *cobra.Command {
	var layout, kind string
	var size bool
	const kinds = `config", "container", "image", "network", "node", "plugin", "secret", "service", "task", "volume`
	cmd := &cobra.Command{
		Use:               "inspect [OPTIONS] NAME|ID [NAME|ID...]",
		Short:             "Return low-level information on objects of the engine",
		Args:              atLeast(1),
		ValidArgsFunction: a.completeContainers,
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("type") && kind == "" {
				return fmt.Errorf(`type is empty: must be one of "%s"`, kinds)
			}
			find := findAny(size)
			switch kind {
			case "":
			case "container":
				find = findContainer(size)
			case "image":
				find = findImage
			case "network":
				find = findNetwork
			case "volume":
				find = findVolume
			default:
				if strings.Contains(`"`+kinds+`"`, `"`+kind+`"`) {
					return fmt.Errorf("inspecting a %s is not supported yet", kind)
				}
				return fmt.Errorf(`unknown type: %q: must be one of "%s"`, kind, kinds)
			}
			if size && kind != "" && kind != "container" {
				a.warn("--size ignored for " + kind)
			}
			return a.inspectAll(cmd.Context(), args, layout, find)
		},
	}
	fs := cmd.Flags()
	fs.StringVarP(&layout, "format", "f", "", inspectUsage)
	fs.BoolVarP(&size, "size", "s", false, "Display total file sizes if the type is container")
	fs.StringVar(&kind, "type", "", "Only inspect objects of this type")
	return cmd
}

// findAny looks among containers first, then images, networks and volumes.
func findAny(size bool) finder {
	return func(ctx context.Context, daemon *client.Client, name string) (any, []byte, error) {
		for _, find := range []finder{findContainer(size), findImage, findNetwork, findVolume} {
			typed, raw, err := find(ctx, daemon, name)
			if err == nil || !passable(err) {
				return typed, raw, err
			}
		}
		return nil, nil, errors.New("Error: No such object: " + name) //nolint:staticcheck // docker's words
	}
}

// passable tells whether an error only says that an object is of another kind.
func passable(err error) bool {
	return errdefs.IsNotFound(err) || strings.Contains(err.Error(), "not supported") || strings.Contains(err.Error(), "invalid reference format")
}

func (a *app) containerInspect() *cobra.Command {
	var layout string
	var size bool
	cmd := &cobra.Command{
		Use:               "inspect [OPTIONS] CONTAINER [CONTAINER...]",
		Short:             "Display detailed information on one or more containers",
		Args:              atLeast(1),
		ValidArgsFunction: a.completeContainers,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.inspectAll(cmd.Context(), args, layout, findContainer(size))
		},
	}
	cmd.Flags().StringVarP(&layout, "format", "f", "", inspectUsage)
	cmd.Flags().BoolVarP(&size, "size", "s", false, "Display total file sizes")
	return cmd
}

func (a *app) imageInspect() *cobra.Command {
	var layout, platform string
	cmd := &cobra.Command{
		Use:               "inspect [OPTIONS] IMAGE [IMAGE...]",
		Short:             "Display detailed information on one or more images",
		Args:              atLeast(1),
		ValidArgsFunction: a.completeImages,
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := parsePlatform(platform)
			if err != nil {
				return err
			}
			return a.inspectAll(cmd.Context(), args, layout, func(ctx context.Context, daemon *client.Client, name string) (any, []byte, error) {
				return describe(daemon.ImageInspect(ctx, name, p))
			})
		},
	}
	cmd.Flags().StringVarP(&layout, "format", "f", "", inspectUsage)
	cmd.Flags().StringVar(&platform, "platform", "", `Inspect this platform of the image, "os[/arch[/variant]]"`)
	return cmd
}
