package container

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"path"
	"strings"

	"github.com/cove-containers/cove/cli/command"
	"github.com/cove-containers/cove/cli/opts"
	"github.com/cove-containers/cove/client"
	"github.com/moby/moby/api/types/mount"
)

const (
	// defaultSocket is where a daemon listens that this program talks to in another way.
	defaultSocket = "/run/cove/cove.sock"
	// socketInside is where tools look for a daemon's socket, and credentialsInside where they are told to look for credentials.
	socketInside      = "/var/run/docker.sock"
	credentialsInside = "/run/secrets/docker/config.json"
)

// useSocket gives the container the daemon's socket, and says where the credentials will be that useCredentials puts there.
func useSocket(a *command.App, daemon *client.Client, s opts.Settings) (credentials []byte, err error) {
	source, local := strings.CutPrefix(daemon.Host(), "unix://")
	if !local {
		source = defaultSocket
	}
	s.HostConfig.Mounts = append(s.HostConfig.Mounts, mount.Mount{
		Type: mount.TypeBind, Source: source, Target: socketInside, BindOptions: &mount.BindOptions{},
	})
	s.Config.Env = append(s.Config.Env, "COVE_HOST=unix://"+socketInside)
	credentials, err = a.ConfigFile().Credentials()
	if err != nil {
		return nil, fmt.Errorf("resolving credentials failed: %w", err)
	}
	if credentials != nil {
		s.Config.Env = append(s.Config.Env, "DOCKER_CONFIG="+path.Dir(credentialsInside))
	}
	return credentials, nil
}

// putCredentials writes the credentials into a container that has not been started, for its user 0 alone.
func putCredentials(ctx context.Context, daemon *client.Client, id string, credentials []byte) error {
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	err := w.WriteHeader(&tar.Header{Name: credentialsInside, Mode: 0o600, Size: int64(len(credentials))})
	if err == nil {
		_, err = w.Write(credentials)
	}
	if err == nil {
		err = w.Close()
	}
	if err == nil {
		err = daemon.CopyToContainer(ctx, id, "/", &archive, client.CopyToOptions{})
	}
	if err != nil {
		return fmt.Errorf("injecting docker config.json into container failed: %w", err)
	}
	return nil
}
