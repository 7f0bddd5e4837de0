package config

import (
	"encoding/base64"
	"encoding/json"
)

// Credentials is a config.json with the credentials of every registry and nothing else, wherever they are kept; nil when
// there are none.
func (f *File) Credentials() ([]byte, error) {
	auths := map[string]entry{}
	for _, name := range f.Registries() {
		key := Key(name)
		auth, err := f.Auth(key)
		if err != nil {
			return nil, err
		}
		e := entry{IdentityToken: auth.IdentityToken, RegistryToken: auth.RegistryToken}
		if auth.Username != "" || auth.Password != "" {
			e.Auth = base64.StdEncoding.EncodeToString([]byte(auth.Username + ":" + auth.Password))
		}
		if e != (entry{}) {
			auths[key] = e
		}
	}
	if len(auths) == 0 {
		return nil, nil
	}
	return json.Marshal(map[string]any{"auths": auths})
}
