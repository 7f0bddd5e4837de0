package command

import (
	"github.com/cove-containers/cove/cli/config"
	"github.com/cove-containers/cove/release"
	"github.com/cove-containers/cove/remote"
)

// Registry prepares to speak to a registry itself, without the daemon, as the user who is signed in there. insecure
// also takes plain HTTP, and a certificate that nobody vouches for.
func (a *App) Registry(host string, insecure bool) (*remote.Client, *remote.Session, error) {
	auth, err := a.ConfigFile().Auth(config.Key(host))
	if err != nil {
		return nil, nil, err
	}
	settings := remote.Config{UserAgent: "cove/" + release.Version, CertsDirs: []string{"/etc/cove/certs.d", "/etc/docker/certs.d"}}
	if insecure {
		settings.Insecure = []string{host}
	}
	client, err := remote.New(settings)
	if err != nil {
		return nil, nil, err
	}
	return client, remote.NewSession(remote.Credentials{
		Username: auth.Username, Password: auth.Password, IdentityToken: auth.IdentityToken, RegistryToken: auth.RegistryToken,
	}), nil
}
