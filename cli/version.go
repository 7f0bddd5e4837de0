package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/cove-containers/cove/api"
	"github.com/cove-containers/cove/cli/format"
	"github.com/cove-containers/cove/client"
	"github.com/moby/moby/api/types/system"
	"github.com/spf13/cobra"
)

// clientVersion describes this program, in the form templates of docker's version command expect.
type clientVersion struct {
	Version           string `json:"Version,omitempty"`
	APIVersion        string `json:"ApiVersion,omitempty"`
	DefaultAPIVersion string `json:"DefaultAPIVersion,omitempty"`
	GitCommit         string `json:"GitCommit,omitempty"`
	GoVersion         string `json:"GoVersion,omitempty"`
	Os                string `json:"Os,omitempty"`
	Arch              string `json:"Arch,omitempty"`
	BuildTime         string `json:"BuildTime,omitempty"`
	Context           string `json:"Context"`
}

type versions struct {
	Client clientVersion
	Server *system.VersionResponse
}

func (a *app) version() *cobra.Command {
	var layout string
	var alone bool
	cmd := &cobra.Command{
		Use:                   "version [OPTIONS]",
		Short:                 "Show the version of client and daemon",
		Args:                  noArgs,
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			v := versions{Client: a.clientVersion()}
			var failed error
			if !alone {
				v.Server, failed = a.serverVersion(cmd.Context())
				v.Client.APIVersion = a.apiVersion()
			}
			if layout == "" {
				v.print(a.out)
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

func (a *app) clientVersion() clientVersion {
	return clientVersion{
		Version: api.EngineVersion, APIVersion: api.Version, DefaultAPIVersion: api.Version, GitCommit: api.GitCommit,
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

func (v versions) print(out io.Writer) {
	w := tabwriter.NewWriter(out, 20, 1, 1, ' ', 0)
	defer w.Flush()
	c := v.Client
	shown := c.APIVersion
	if c.APIVersion != c.DefaultAPIVersion {
		shown += " (downgraded from " + c.DefaultAPIVersion + ")"
	}
	fmt.Fprintf(w, "Client:\n Version:\t%s\n API version:\t%s\n Go version:\t%s\n Git commit:\t%s\n Built:\t%s\n OS/Arch:\t%s/%s\n Context:\t%s\n",
		c.Version, shown, c.GoVersion, c.GitCommit, c.BuildTime, c.Os, c.Arch, c.Context)
	if v.Server == nil {
		return
	}
	fmt.Fprint(w, "\nServer:")
	if name := v.Server.Platform.Name; name != "" {
		fmt.Fprint(w, " "+name)
	}
	fmt.Fprintln(w)
	for _, part := range v.Server.Components {
		fmt.Fprintf(w, " %s:\n  Version:\t%s\n", part.Name, part.Version)
		d := part.Details
		if part.Name != "Engine" {
			for _, key := range slices.Sorted(maps.Keys(d)) {
				fmt.Fprintf(w, "  %s:\t%s\n", key, d[key])
			}
			continue
		}
		fmt.Fprintf(w, "  API version:\t%s (minimum version %s)\n  Go version:\t%s\n  Git commit:\t%s\n  Built:\t%s\n  OS/Arch:\t%s/%s\n  Experimental:\t%s\n",
			d["ApiVersion"], d["MinAPIVersion"], d["GoVersion"], d["GitCommit"], longDate(d["BuildTime"]), d["Os"], d["Arch"], d["Experimental"])
	}
}

// longDate spells a time out, when it is one.
func longDate(s string) string {
	if t, err := time.Parse(time.RFC3339Nano, s); err == nil {
		return t.Format(time.ANSIC)
	}
	return s
}

// clientInfo is what info says of this program.
type clientInfo struct {
	Debug    bool
	Platform struct{ Name string } `json:"-"`
	clientVersion
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
		Use:                   "info [OPTIONS]",
		Short:                 "Display system-wide information",
		Args:                  noArgs,
		Annotations:           aliases("system info", "info"),
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			e := everything{ClientInfo: &clientInfo{clientVersion: a.clientVersion(), Debug: a.global.debug, Plugins: []string{}}}
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
