package config

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/registry"
)

// HubKey is the name under which credentials for Docker Hub are kept.
const HubKey = "https://index.docker.io/v1/"

// entry is how config.json keeps the credentials of one registry: name and password in Auth, encoded.
type entry struct {
	Auth          string `json:"auth,omitempty"`
	IdentityToken string `json:"identitytoken,omitempty"`
	RegistryToken string `json:"registrytoken,omitempty"`
}

// Key is the name under which the credentials for a registry host are kept.
func Key(host string) string {
	switch host {
	case "", "docker.io", "index.docker.io", "registry-1.docker.io":
		return HubKey
	}
	return host
}

// hostOf takes scheme and path off an address, for entries written by other tools.
func hostOf(address string) string {
	address = strings.TrimPrefix(strings.TrimPrefix(address, "https://"), "http://")
	host, _, _ := strings.Cut(address, "/")
	return host
}

// Auth gives the credentials for a registry key, empty when there are none. Those of $DOCKER_AUTH_CONFIG, which has
// the form of config.json, come first. A helper that fails is an error.
func (f *File) Auth(key string) (registry.AuthConfig, error) {
	if raw := os.Getenv("DOCKER_AUTH_CONFIG"); raw != "" {
		var given struct{ Auths map[string]entry }
		if err := json.Unmarshal([]byte(raw), &given); err != nil {
			return registry.AuthConfig{}, fmt.Errorf("read DOCKER_AUTH_CONFIG: %w", err)
		}
		if e, ok := find(given.Auths, key); ok {
			auth, err := decode(e, key)
			if err != nil {
				err = fmt.Errorf("read DOCKER_AUTH_CONFIG: %w", err)
			}
			return auth, err
		}
	}
	if helper := f.helper(key); helper != "" {
		return f.askHelper(helper, key)
	}
	e, _ := find(f.auths, key)
	return decode(e, key)
}

func find(auths map[string]entry, key string) (entry, bool) {
	if e, ok := auths[key]; ok {
		return e, true
	}
	for address, e := range auths {
		if hostOf(address) == key {
			return e, true
		}
	}
	return entry{}, false
}

// decode reads the entry for key.
func decode(e entry, key string) (registry.AuthConfig, error) {
	auth := registry.AuthConfig{ServerAddress: key, IdentityToken: e.IdentityToken, RegistryToken: e.RegistryToken}
	if e.Auth == "" {
		return auth, nil
	}
	raw, err := base64.StdEncoding.DecodeString(e.Auth)
	if err != nil {
		return auth, fmt.Errorf("credentials for %s: %w", key, err)
	}
	auth.Username, auth.Password, _ = strings.Cut(strings.TrimRight(string(raw), "\x00"), ":")
	return auth, nil
}

// helper is the program that keeps the credentials for key: the one named for it, else the one for all.
func (f *File) helper(key string) string {
	if name, ok := f.CredHelpers[key]; ok {
		return name
	}
	if name, ok := f.CredHelpers[hostOf(key)]; ok {
		return name
	}
	return f.CredsStore
}

func (f *File) askHelper(helper, key string) (registry.AuthConfig, error) {
	auth := registry.AuthConfig{ServerAddress: key}
	out, err := runHelper(helper, "get", []byte(key))
	if err != nil {
		if err.Error() == noCredentials {
			err = nil
		}
		return auth, err
	}
	var found struct{ Username, Secret string }
	if err := json.Unmarshal(out, &found); err != nil {
		return auth, fmt.Errorf("answer of docker-credential-%s: %w", helper, err)
	}
	if found.Username == "<token>" {
		auth.IdentityToken = found.Secret
	} else {
		auth.Username, auth.Password = found.Username, found.Secret
	}
	return auth, nil
}

// StoreAuth keeps credentials, with the helper when there is one, else in the file. plain tells that they now
// stand in the file unencrypted.
func (f *File) StoreAuth(auth registry.AuthConfig) (plain bool, err error) {
	if helper := f.helper(auth.ServerAddress); helper != "" {
		secret := struct{ ServerURL, Username, Secret string }{auth.ServerAddress, auth.Username, auth.Password}
		if auth.IdentityToken != "" {
			secret.Username, secret.Secret = "<token>", auth.IdentityToken
		}
		raw, err := json.Marshal(secret)
		if err == nil {
			_, err = runHelper(helper, "store", raw)
		}
		return false, err
	}
	e := entry{IdentityToken: auth.IdentityToken, RegistryToken: auth.RegistryToken}
	if auth.Username != "" {
		password := auth.Password
		if auth.IdentityToken != "" {
			password = ""
		}
		e.Auth = base64.StdEncoding.EncodeToString([]byte(auth.Username + ":" + password))
	}
	if f.auths[auth.ServerAddress] == e {
		return false, nil // the user has been told
	}
	if f.auths == nil {
		f.auths = map[string]entry{}
	}
	f.auths[auth.ServerAddress] = e
	if err := f.set("auths", f.auths); err != nil {
		return true, err
	}
	return true, f.save()
}

// EraseAuth forgets the credentials for key.
func (f *File) EraseAuth(key string) error {
	if helper := f.helper(key); helper != "" {
		_, err := runHelper(helper, "erase", []byte(key))
		return err
	}
	for address := range f.auths {
		if address == key || hostOf(address) == key {
			delete(f.auths, address)
		}
	}
	if err := f.set("auths", f.auths); err != nil {
		return err
	}
	return f.save()
}

// HasAuth tells whether there is anything to forget for key.
func (f *File) HasAuth(key string) bool {
	auth, err := f.Auth(key)
	return err == nil && (auth.Username != "" || auth.IdentityToken != "" || auth.RegistryToken != "")
}

// noCredentials is what helpers say of a registry they know nothing of.
const noCredentials = "credentials not found in native keychain"

// runHelper speaks docker's credential helper protocol: one verb, the question on standard input.
func runHelper(helper, verb string, question []byte) ([]byte, error) {
	cmd := exec.Command("docker-credential-"+helper, verb)
	cmd.Stdin = bytes.NewReader(question)
	out, err := cmd.Output()
	if err == nil {
		return out, nil
	}
	said := strings.TrimSpace(string(out))
	if said == noCredentials {
		return nil, errors.New(said)
	}
	return nil, fmt.Errorf("error %s credentials - err: %w, out: `%s`", map[string]string{"get": "getting", "store": "storing", "erase": "erasing"}[verb], err, said)
}

// Registries are those there are credentials for in the file, by the names users give them.
func (f *File) Registries() []string {
	seen := map[string]bool{}
	for address := range f.auths {
		seen[address] = true
	}
	for host := range f.CredHelpers {
		seen[host] = true
	}
	if seen[HubKey] {
		delete(seen, HubKey)
		seen["docker.io"] = true
	}
	return slices.Sorted(maps.Keys(seen))
}
