package system

import (
	"context"
	"runtime"

	"github.com/cove-containers/cove/api"
	"github.com/cove-containers/cove/cli/command"
	"github.com/cove-containers/cove/cli/format"
	"github.com/cove-containers/cove/release"
	"github.com/moby/moby/api/types/system"
	"github.com/spf13/cobra"
)

func Version(a *command.App) *cobra.Command {
	var layout string
	var alone bool
	cmd := &cobra.Command{
		Use:   "version [OPTIONS]",
		Short: "Show the version of client and daemon",
		Args:  command.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			v := format.Versions{Client: clientVersion(a)}
			var failed error
			if !alone {
				v.Server, failed = serverVersion(cmd.Context(), a)
				v.Client.APIVersion = a.APIVersion()
			}
			if layout == "" {
				v.Print(a.Out)
				return failed
			}
			if err := format.Value(a.Out, layout, v); err != nil {
				return templateError(err)
			}
			return failed
		},
	}
	cmd.Flags().StringVarP(&layout, "format", "f", "", command.InspectUsage)
	cmd.Flags().BoolVar(&alone, "client", false, "Show the client only, without asking the daemon")
	return cmd
}

func clientVersion(a *command.App) format.ClientVersion {
	return format.ClientVersion{
		Version: release.Version, APIVersion: api.Version, DefaultAPIVersion: api.Version, GitCommit: release.Commit,
		GoVersion: runtime.Version(), Os: runtime.GOOS, Arch: runtime.GOARCH, Context: a.ContextName(),
	}
}

func serverVersion(ctx context.Context, a *command.App) (*system.VersionResponse, error) {
	daemon, err := a.Client()
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
