package system

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/cove-containers/cove/api"
	"github.com/cove-containers/cove/cli/command"
	"github.com/cove-containers/cove/cli/format"
	"github.com/cove-containers/cove/client"
	"github.com/spf13/cobra"
)

func Check(a *command.App) *cobra.Command {
	var layout string
	var o api.CheckOptions
	cmd := &cobra.Command{
		Use:   "check [OPTIONS]",
		Short: "Check what the engine has stored, and repair it",
		Long: "Checks every blob against its digest, layers, containers, volumes and images against their records and one another,\n" +
			"and supervisors, cgroups, network devices and published ports against the containers that run. Everything goes on\n" +
			"meanwhile. The exit status is 0 when nothing is wrong, or all of it was repaired, and else 1.",
		Args: command.NoArgs,
		RunE: a.Call(func(ctx context.Context, daemon *client.Client, _ []string) error {
			report, err := daemon.SystemCheck(ctx, o)
			if err != nil {
				return err
			}
			if layout != "" {
				err = format.Value(a.Out, layout, report)
			} else {
				err = writeReport(a.Out, report)
			}
			if err == nil && slices.ContainsFunc(report.Faults, api.Fault.Open) {
				err = command.Exit(1)
			}
			return err
		}),
	}
	fs := cmd.Flags()
	fs.BoolVar(&o.Deep, "deep", false, "Also unpack every layer again and compare each file")
	fs.BoolVar(&o.Repair, "repair", false, "Put right what can be")
	fs.StringVar(&layout, "format", "", command.FormatUsage)
	return cmd
}

// writeReport shows a report as text: what was looked at, then a line for each fault.
func writeReport(w io.Writer, report api.CheckReport) error {
	var b strings.Builder
	var looked []string
	for _, kind := range slices.Sorted(maps.Keys(report.Checked)) {
		looked = append(looked, fmt.Sprintf("%d %s", report.Checked[kind], kind))
	}
	fmt.Fprintf(&b, "Checked %s\n", strings.Join(looked, ", "))
	open := 0
	for _, f := range report.Faults {
		fmt.Fprintf(&b, "%s %s: %s: %s\n", f.Kind, f.Name, f.Problem, outcome(f))
		if f.Open() {
			open++
		}
	}
	switch {
	case len(report.Faults) == 0:
		b.WriteString("No faults found\n")
	default:
		fmt.Fprintf(&b, "Faults found: %d, repaired: %d\n", len(report.Faults), len(report.Faults)-open)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// outcome says what became of a fault, or what can be done.
func outcome(f api.Fault) string {
	text := "not repairable"
	switch {
	case f.Repaired:
		text = "repaired: " + f.Remedy
	case f.Error != "":
		text = "not repaired: " + f.Error
	case f.Remedy != "":
		text = "--repair: " + f.Remedy
	}
	if f.Advice != "" {
		text += " (" + f.Advice + ")"
	}
	return text
}
