package command

import (
	"encoding/base64"
	"encoding/json"

	"github.com/cove-containers/cove/cli/config"
	"github.com/moby/moby/api/types/registry"
)

// RegistryAuth gives the credentials for a registry host as the API takes them, "" when there are none.
func (a *App) RegistryAuth(host string) (string, error) {
	auth, err := a.ConfigFile().Auth(config.Key(host))
	if err != nil {
		return "", err
	}
	if auth.Username == "" && auth.IdentityToken == "" && auth.RegistryToken == "" {
		return "", nil
	}
	return encodeAuth(auth)
}

func encodeAuth(auth registry.AuthConfig) (string, error) {
	raw, err := json.Marshal(auth)
	return base64.URLEncoding.EncodeToString(raw), err
}
