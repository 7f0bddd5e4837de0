package system

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cove-containers/cove/cli/command"
	"github.com/cove-containers/cove/cli/format"
	"github.com/moby/moby/api/types/system"
	"github.com/spf13/cobra"
)

// clientInfo is what info says of this program.
type clientInfo struct {
	Debug    bool
	Platform struct{ Name string } `json:"-"`
	format.ClientVersion
	Plugins  []string
	Warnings []string
}

// everything is what templates of info see.
type everything struct {
	*system.Info
	ServerErrors []string    `json:",omitempty"`
	ClientInfo   *clientInfo `json:",omitempty"`
	ClientErrors []string    `json:",omitempty"`
}

func Info(a *command.App) *cobra.Command {
	var layout string
	cmd := &cobra.Command{
		Use:         "info [OPTIONS]",
		Short:       "Display system-wide information",
		Args:        command.NoArgs,
		Annotations: command.Aliases("system info", "info"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			e := everything{ClientInfo: &clientInfo{ClientVersion: clientVersion(a), Debug: a.Global.Debug, Plugins: []string{}}}
			daemon, err := a.Client()
			if err != nil {
				return err
			}
			info, _, failed := daemon.Info(cmd.Context())
			if failed == nil {
				e.Info = &info
			} else {
				e.ServerErrors = append(e.ServerErrors, failed.Error())
			}
			if layout != "" {
				return infoTemplate(a, layout, e, failed)
			}
			return printInfo(a, e, failed)
		},
	}
	cmd.Flags().StringVarP(&layout, "format", "f", "", command.InspectUsage)
	return cmd
}

func infoTemplate(a *command.App, layout string, e everything, failed error) error {
	if e.Info == nil {
		e.Info = &system.Info{}
	}
	if err := format.Value(a.Out, layout, e); err != nil {
		return templateError(err)
	}
	if failed != nil && (layout == "json" || layout == "{{json .}}" || !strings.Contains(layout, ".Client")) {
		return failed
	}
	return nil
}

// templateError gives a template that cannot be read the exit code docker has for it.
func templateError(err error) error {
	var unreadable *format.ParseError
	if errors.As(err, &unreadable) {
		return &command.StatusError{Code: 64, Text: err.Error(), Cause: err}
	}
	return err
}

func printInfo(a *command.App, e everything, failed error) error {
	fmt.Fprintf(a.Out, "Client:\n Version:    %s\n Context:    %s\n Debug Mode: %t\n\nServer:\n", e.ClientInfo.Version, e.ClientInfo.Context, e.ClientInfo.Debug)
	if e.Info != nil {
		format.ServerInfo(a.Out, e.Info)
		for _, w := range e.Info.Warnings {
			fmt.Fprintln(a.Err, w)
		}
	}
	if failed == nil {
		return nil
	}
	if command.IsConnect(failed) {
		return failed
	}
	fmt.Fprintln(a.Err, "ERROR:", failed)
	return errors.New("errors pretty printing info")
}
