package build

import (
	"context"

	"github.com/cove-containers/cove/cli/config"
	"github.com/docker/cli/cli/config/types"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/auth/authprovider"
	"github.com/moby/buildkit/session/secrets/secretsprovider"
	"github.com/moby/buildkit/session/sshforward/sshprovider"
	"github.com/moby/buildkit/util/gitutil"
)

// attachables are what the daemon may ask this end for, besides files: credentials, secrets, keys.
func (o *options) attachables(settings *config.File) ([]session.Attachable, error) {
	sources, err := parseSecrets(o.secrets)
	if err != nil {
		return nil, err
	}
	secrets, err := secretsprovider.NewStore(sources)
	if err != nil {
		return nil, err
	}
	agents := parseSSH(o.ssh)
	if u, err := gitutil.ParseURL(o.context); len(agents) == 0 && err == nil && u.Scheme == gitutil.SSHProtocol {
		agents = []sshprovider.AgentConfig{{ID: "default"}}
	}
	keys, err := sshprovider.NewSSHAgentProvider(agents)
	if err != nil {
		return nil, err
	}
	return []session.Attachable{credentials(settings), secretsprovider.NewSecretProvider(secrets), keys}, nil
}

// credentials answers for registries from the configuration. The daemon gets tokens where the registry has a token
// service, and the password only where it has none.
func credentials(settings *config.File) session.Attachable {
	return authprovider.NewDockerAuthProvider(authprovider.DockerAuthProviderConfig{
		AuthConfigProvider: func(_ context.Context, host string, _ []string, _ authprovider.ExpireCachedAuthCheck) (types.AuthConfig, error) {
			auth, err := settings.Auth(config.Key(host))
			if err != nil {
				return types.AuthConfig{}, err
			}
			return types.AuthConfig{
				Username: auth.Username, Password: auth.Password, ServerAddress: auth.ServerAddress,
				IdentityToken: auth.IdentityToken, RegistryToken: auth.RegistryToken,
			}, nil
		},
	})
}
