package system

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/cove-containers/cove/cli/command"
	"github.com/cove-containers/cove/cli/format"
	"github.com/cove-containers/cove/cli/opts"
	"github.com/cove-containers/cove/client"
	"github.com/moby/moby/api/types/events"
	"github.com/spf13/cobra"
)

func Events(a *command.App) *cobra.Command {
	var o client.EventsOptions
	var since, until, layout string
	cmd := &cobra.Command{
		Use:         "events [OPTIONS]",
		Short:       "Get real time events from the server",
		Args:        command.NoArgs,
		Annotations: command.Aliases("system events", "events"),
		RunE: a.Call(func(ctx context.Context, daemon *client.Client, _ []string) (err error) {
			show := printEvent
			if layout != "" {
				if err := format.Value(io.Discard, layout, &events.Message{}); err != nil {
					text := "Error parsing format: " + strings.TrimPrefix(err.Error(), "template parsing error: ")
					return &command.StatusError{Code: 64, Text: text, Cause: err}
				}
				show = func(w io.Writer, m events.Message) error { return format.Value(w, layout, m) }
			}
			if o.Since, err = opts.Time(since); err != nil {
				return err
			}
			if o.Until, err = opts.Time(until); err != nil {
				return err
			}
			return daemon.Events(ctx, o, func(m events.Message) error { return show(a.Out, m) })
		}),
	}
	fs := cmd.Flags()
	opts.Filters(fs, &o.Filters, "f", "Show only what these conditions hold for")
	fs.StringVar(&layout, "format", "", command.InspectUsage)
	fs.StringVar(&since, "since", "", "Show all events since this time")
	fs.StringVar(&until, "until", "", "Show events until this time")
	return cmd
}

// printEvent prints an event on one line: time, what happened to what, and its attributes.
func printEvent(w io.Writer, m events.Message) error {
	var b bytes.Buffer
	const layout = "2006-01-02T15:04:05.000000000Z07:00"
	if m.TimeNano != 0 {
		b.WriteString(time.Unix(0, m.TimeNano).Format(layout) + " ")
	} else if m.Time != 0 {
		b.WriteString(time.Unix(m.Time, 0).Format(layout) + " ")
	}
	fmt.Fprintf(&b, "%s %s %s", m.Type, m.Action, m.Actor.ID)
	var attributes []string
	for _, key := range slices.Sorted(maps.Keys(m.Actor.Attributes)) {
		attributes = append(attributes, key+"="+m.Actor.Attributes[key])
	}
	if attributes != nil {
		fmt.Fprintf(&b, " (%s)", strings.Join(attributes, ", "))
	}
	b.WriteByte('\n')
	_, err := w.Write(b.Bytes())
	return err
}
