package config

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/registry"
)

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func load(t *testing.T, dir string) *File {
	t.Helper()
	f, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestAbsentAndBroken(t *testing.T) {
	t.Setenv("DOCKER_AUTH_CONFIG", "")
	dir := t.TempDir()
	if f := load(t, dir); f.CurrentContext != "" || f.HasAuth(HubKey) {
		t.Errorf("%+v", f)
	}
	write(t, dir, "config.json", "{")
	f, err := Load(dir)
	if err == nil || !strings.Contains(err.Error(), "Error parsing config file (") {
		t.Error(err)
	}
	if err := f.UseContext("default"); err == nil {
		t.Error("a file that cannot be read is written over")
	}
}

func TestCredentials(t *testing.T) {
	t.Setenv("DOCKER_AUTH_CONFIG", "")
	dir := t.TempDir()
	write(t, dir, "config.json", `{"plugins":{"x":{"y":"z"}},"psFormat":"table {{.ID}}","auths":{
		"https://index.docker.io/v1/":{"auth":"dTpwOnE="},
		"https://old.example/v2/":{"auth":"YTpi"}}}`)
	f := load(t, dir)
	for key, want := range map[string]string{Key("docker.io"): "u p:q", "old.example": "a b", "other.example": " "} {
		got, err := f.Auth(key)
		if err != nil || got.Username+" "+got.Password != want {
			t.Errorf("%s: got %+v, %v", key, got, err)
		}
	}
	t.Setenv("DOCKER_AUTH_CONFIG", `{"auths":{"env.example":{"auth":"ZTpm"}}}`)
	if got, err := f.Auth("env.example"); err != nil || got.Username+got.Password != "ef" || !f.HasAuth("old.example") {
		t.Errorf("of the environment: %+v, %v", got, err)
	}
	plain, err := f.StoreAuth(registry.AuthConfig{ServerAddress: "r:5000", Username: "me", Password: "secret"})
	if err != nil || !plain {
		t.Fatal(plain, err)
	}
	if err := f.EraseAuth("old.example"); err != nil {
		t.Fatal(err)
	}
	again := load(t, dir)
	if got, _ := again.Auth("r:5000"); got.Password != "secret" || again.HasAuth("old.example") || !again.HasAuth(HubKey) {
		t.Errorf("kept %+v", again.auths)
	}
	raw, _ := os.ReadFile(again.Path())
	var all map[string]any
	if err := json.Unmarshal(raw, &all); err != nil || all["plugins"] == nil || all["psFormat"] != "table {{.ID}}" {
		t.Errorf("unknown fields are gone: %s", raw)
	}
	if info, _ := os.Stat(again.Path()); info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	if rest, _ := filepath.Glob(filepath.Join(dir, "config.json.*")); rest != nil {
		t.Errorf("left %v", rest)
	}
}

func TestHelper(t *testing.T) {
	t.Setenv("DOCKER_AUTH_CONFIG", "")
	dir := t.TempDir()
	write(t, dir, "docker-credential-fake", `#!/bin/sh
read -r q
case "$1" in
get) case "$q" in
  known) echo '{"ServerURL":"known","Username":"u","Secret":"s"}';;
  token) echo '{"Username":"<token>","Secret":"t"}';;
  *) echo "credentials not found in native keychain"; exit 1;;
  esac;;
store) echo "$q" > "$0.stored";;
erase) echo broken; exit 1;;
esac
`)
	if err := os.Chmod(filepath.Join(dir, "docker-credential-fake"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	write(t, dir, "config.json", `{"credsStore":"fake","credHelpers":{"gone":"absent"}}`)
	f := load(t, dir)
	if a, err := f.Auth("known"); err != nil || a.Username != "u" || a.Password != "s" {
		t.Error(a, err)
	}
	if a, err := f.Auth("token"); err != nil || a.IdentityToken != "t" || a.Username != "" {
		t.Error(a, err)
	}
	if a, err := f.Auth("nobody"); err != nil || a.Username != "" {
		t.Error(a, err)
	}
	if _, err := f.Auth("gone"); err == nil {
		t.Error("a helper that is not there gives no error")
	}
	plain, err := f.StoreAuth(registry.AuthConfig{ServerAddress: "known", Username: "u", Password: "p"})
	raw, _ := os.ReadFile(filepath.Join(dir, "docker-credential-fake.stored"))
	if err != nil || plain || !strings.Contains(string(raw), `"Secret":"p"`) {
		t.Error(plain, err, string(raw))
	}
	if err := f.EraseAuth("known"); err == nil || !strings.Contains(err.Error(), "broken") {
		t.Error(err)
	}
}

func TestContexts(t *testing.T) {
	dir := t.TempDir()
	f := load(t, dir)
	if list, err := f.Contexts(); err != nil || list != nil {
		t.Error(list, err)
	}
	if _, err := f.Context("remote"); err == nil || !strings.Contains(err.Error(), `context "remote": context not found`) {
		t.Error(err)
	}
	meta := filepath.Join("contexts", "meta", hashOf("remote"), "meta.json")
	write(t, dir, meta, `{"Name":"remote","Metadata":{"Description":"far away"},"Endpoints":{"docker":{"Host":"tcp://h:2376","SkipTLSVerify":true}}}`)
	c, err := f.Context("remote")
	if err != nil || c.Host != "tcp://h:2376" || c.Description() != "far away" || !c.SkipTLSVerify {
		t.Error(c, err)
	}
	if secure, err := c.TLS(); err != nil || secure == nil || !secure.InsecureSkipVerify {
		t.Error(secure, err)
	}
	if err := f.UseContext("remote"); err != nil || load(t, dir).CurrentContext != "remote" {
		t.Error(err)
	}
	if err := f.UseContext("default"); err != nil || load(t, dir).CurrentContext != "" {
		t.Error(err)
	}
	write(t, dir, filepath.Join("contexts", "tls", hashOf("remote"), "docker", "ca.pem"), "nonsense")
	if list, err := f.Contexts(); err != nil || len(list) != 1 || len(list[0].TLSMaterial()["docker"]) != 1 {
		t.Error(list, err)
	}
}

func TestProxies(t *testing.T) {
	f := &File{Proxies: map[string]Proxy{"default": {HTTP: "http://p", No: "localhost"}, "unix:///x": {HTTPS: "s"}}}
	if got := strings.Join(f.ProxyEnv("tcp://h", []string{"http_proxy=mine"}), " "); got != "HTTP_PROXY=http://p NO_PROXY=localhost no_proxy=localhost" {
		t.Error(got)
	}
	if got := strings.Join(f.ProxyEnv("unix:///x", nil), " "); got != "HTTPS_PROXY=s https_proxy=s" {
		t.Error(got)
	}
}

func TestBrokenTLS(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "ca.pem", "nonsense")
	for _, files := range []TLSFiles{{CA: filepath.Join(dir, "ca.pem"), Verify: true}, {CA: filepath.Join(dir, "no"), Verify: true}, {Cert: filepath.Join(dir, "ca.pem"), Key: filepath.Join(dir, "ca.pem")}} {
		if _, err := files.Config(); err == nil {
			t.Errorf("%+v: no error", files)
		}
	}
}
