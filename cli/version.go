package cli

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"

	"github.com/cove-containers/cove/api"
	"github.com/cove-containers/cove/cli/format"
	"github.com/cove-containers/cove/client"
	"github.com/cove-containers/cove/release"
	"github.com/moby/moby/api/types/system"
	"github.com/spf13/cobra"
)

func (a *app) version() *cobra.Command {
	var layout string
	var alone bool
	cmd := &cobra.Command{
		Use:   "version [OPTIONS]",
		Short: "Show the version of client and daemon",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			v := format.Versions{Client: a.clientVersion()}
			var failed error
			if !alone {
				v.Server, failed = a.serverVersion(cmd.Context())
				v.Client.APIVersion = a.apiVersion()
			}
			if layout == "" {
				v.Print(a.out)
				return failed
			}
			if err := format.Value(a.out, layout, v); err != nil {
				return templateError(err)
			}
			return failed
		},
	}
	cmd.Flags().StringVarP(&layout, "format", "f", "", inspectUsage)
	cmd.Flags().BoolVar(&alone, "client", false, "Show the client only, without asking the daemon")
	return cmd
}

func (a *app) clientVersion() format.ClientVersion {
	return format.ClientVersion{
		Version: release.Version, APIVersion: api.Version, DefaultAPIVersion: api.Version, GitCommit: release.Commit,
		GoVersion: runtime.Version(), Os: runtime.GOOS, Arch: runtime.GOARCH, Context: a.contextName(),
	}
}

func (a *app) apiVersion() string {
	if a.daemon != nil {
		return a.daemon.Version()
	}
	return api.Version
}

func (a *app) serverVersion(ctx context.Context) (*system.VersionResponse, error) {
	daemon, err := a.client()
	if err != nil {
		return nil, err
	}
	v, err := daemon.ServerVersion(ctx)
	if err != nil {
		return nil, err
	}
	return withEngine(v), nil
}

// withEngine makes sure that the daemon itself is among its components.
func withEngine(v system.VersionResponse) *system.VersionResponse {
	for _, c := range v.Components {
		if c.Name == "Engine" {
			return &v
		}
	}
	v.Components = append(v.Components, system.ComponentVersion{Name: "Engine", Version: v.Version, Details: map[string]string{
		"ApiVersion": v.APIVersion, "MinAPIVersion": v.MinAPIVersion, "Os": v.Os, "Arch": v.Arch,
	}})
	return &v
}

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

func (a *app) info() *cobra.Command {
	var layout string
	cmd := &cobra.Command{
		Use:         "info [OPTIONS]",
		Short:       "Display system-wide information",
		Args:        noArgs,
		Annotations: aliases("system info", "info"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			e := everything{ClientInfo: &clientInfo{ClientVersion: a.clientVersion(), Debug: a.global.debug, Plugins: []string{}}}
			daemon, err := a.client()
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
				return a.infoTemplate(layout, e, failed)
			}
			return a.printInfo(e, failed)
		},
	}
	cmd.Flags().StringVarP(&layout, "format", "f", "", inspectUsage)
	return cmd
}

func (a *app) infoTemplate(layout string, e everything, failed error) error {
	if e.Info == nil {
		e.Info = &system.Info{}
	}
	if err := format.Value(a.out, layout, e); err != nil {
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
		return &statusError{code: 64, text: err.Error(), cause: err}
	}
	return err
}

// isConnect tells whether the daemon could not be reached at all.
func isConnect(err error) bool {
	var connect *client.ConnectError
	return errors.As(err, &connect)
}

func (a *app) printInfo(e everything, failed error) error {
	fmt.Fprintf(a.out, "Client:\n Version:    %s\n Context:    %s\n Debug Mode: %t\n\nServer:\n", e.ClientInfo.Version, e.ClientInfo.Context, e.ClientInfo.Debug)
	if e.Info != nil {
		format.ServerInfo(a.out, e.Info)
		for _, w := range e.Info.Warnings {
			fmt.Fprintln(a.err, w)
		}
	}
	if failed == nil {
		return nil
	}
	if isConnect(failed) {
		return failed
	}
	fmt.Fprintln(a.err, "ERROR:", failed)
	return errors.New("errors pretty printing info")
}
