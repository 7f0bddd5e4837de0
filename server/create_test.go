package server

import (
	"strings"
	"testing"

	ct "github.com/moby/moby/api/types/container"

	"github.com/cove-containers/cove/engine"
)

// created sends a create request and gives what the engine would have got.
func created(t *testing.T, path, body string) (o engine.CreateOptions, status int, answer string) {
	t.Helper()
	p := Parts{Lives: fakeLives{create: func(got engine.CreateOptions) (ct.CreateResponse, error) {
		o = got
		return ct.CreateResponse{ID: "abc"}, nil
	}}}
	w := ask(t, p, "POST", path, body)
	return o, w.Code, strings.TrimSpace(w.Body.String())
}

func TestCreate(t *testing.T) {
	o, status, answer := created(t, "/v1.56/containers/create?name=n&platform=linux/arm64",
		`{"Image":"a","Cmd":["x","y"],"Tty":true,"HostConfig":{"AutoRemove":true,"PidsLimit":-1,"Umask":18},"Later":1}`)
	if status != 201 || answer != `{"Id":"abc","Warnings":[]}` {
		t.Fatalf("%d %s", status, answer)
	}
	if o.Name != "n" || o.Platform.Architecture != "arm64" || o.Config.Image != "a" || len(o.Config.Cmd) != 2 || !o.Config.Tty {
		t.Errorf("%+v", o)
	}
	if o.HostConfig.NetworkMode != "bridge" || !o.HostConfig.AutoRemove || o.HostConfig.PidsLimit != nil || *o.HostConfig.Umask != 18 || o.Networking == nil {
		t.Errorf("%+v %+v", o.HostConfig, o.Networking)
	}
}

func TestCreateOfOldVersions(t *testing.T) {
	body := `{"Image":"a","Cmd":"x","HostConfig":{"NetworkMode":"default","AutoRemove":true,"Annotations":{"a":"b"},"ConsoleSize":[1,2],"Umask":18,
		"Mounts":[{"Type":"bind","Source":"/a","Target":"/b","ReadOnly":true,"BindOptions":{"CreateMountpoint":true},"VolumeOptions":{}}]},
		"NetworkingConfig":{"EndpointsConfig":{"default":{"GwPriority":7}}},"MacAddress":"02:42:ac:11:00:02"}`
	o, status, answer := created(t, "/v1.24/containers/create?platform=nonsense/", body)
	if status != 201 {
		t.Fatalf("%d %s", status, answer)
	}
	host, endpoint := o.HostConfig, o.Networking.EndpointsConfig["bridge"]
	if host.AutoRemove || host.Annotations != nil || host.ConsoleSize != [2]uint{} || host.IpcMode != "shareable" || host.Umask != nil || o.Platform != nil {
		t.Errorf("%+v", host)
	}
	if m := host.Mounts[0]; m.BindOptions.CreateMountpoint || m.VolumeOptions != nil || !m.BindOptions.ReadOnlyNonRecursive {
		t.Errorf("%+v", m)
	}
	if endpoint == nil || endpoint.GwPriority != 0 || endpoint.MacAddress.String() != "02:42:ac:11:00:02" {
		t.Errorf("%+v", endpoint)
	}
	if len(o.Config.Cmd) != 1 || o.Config.Cmd[0] != "x" {
		t.Errorf("%q", o.Config.Cmd)
	}
}

func TestCreateRefusals(t *testing.T) {
	for _, test := range []struct{ version, body, want string }{
		{"1.45", `{}`, `{"message":"config cannot be empty in order to create a container"}`},
		{"1.45", `{"HostConfig":{}}`, `{"message":"config cannot be empty in order to create a container"}`},
		{"1.45", `{"Image":"a","NetworkingConfig":{"EndpointsConfig":{"n":null}}}`, `{"message":"no EndpointSettings for n"}`},
		{"1.45", `{"Image":"a","HostConfig":{"Mounts":[{"Type":"bind","VolumeOptions":{}}]}}`, `{"message":"VolumeOptions must not be specified on mount type \"bind\""}`},
		{"1.45", `{"Image":"a","HostConfig":{"Mounts":[{"Type":"volume","BindOptions":{}}]}}`, `{"message":"BindOptions must not be specified on mount type \"volume\""}`},
		{"1.45", `{"Image":"a","HostConfig":{"Mounts":[{"Type":"bind","TmpfsOptions":{}}]}}`, `{"message":"TmpfsOptions must not be specified on mount type \"bind\""}`},
		{"1.43", `{"Image":"a","NetworkingConfig":{"EndpointsConfig":{"n":{},"m":{}}}}`, `{"message":"Container cannot be created with multiple network endpoints: m, n"}`},
		{"1.43", `{"Image":"a","HostConfig":{"Mounts":[{"Type":"bind","BindOptions":{"ReadOnlyForceRecursive":true}}]}}`, `{"message":"BindOptions.ReadOnlyForceRecursive needs API v1.44 or newer"}`},
		{"1.44", `{"Image":"a","HostConfig":{"Mounts":[{"Type":"volume","VolumeOptions":{"Subpath":"x"}}]}}`, `{"message":"VolumeOptions.Subpath needs API v1.45 or newer"}`},
		{"1.47", `{"Image":"a","HostConfig":{"Mounts":[{"Type":"image"}]}}`, `{"message":"Mount type \"Image\" needs API v1.48 or newer"}`},
		{"1.43", `{"Image":"a","MacAddress":"02:42:ac:11:00:02","HostConfig":{"NetworkMode":"host"}}`, `{"message":"conflicting options: mac-address and the network mode"}`},
		{"1.44", `{"Image":"a","MacAddress":"02:42:ac:11:00:02","NetworkingConfig":{"EndpointsConfig":{"bridge":{"MacAddress":"02:42:ac:11:00:03"}}}}`,
			`{"message":"the container-wide MAC address must match the endpoint-specific MAC address for the main network, or be left empty"}`},
		{"1.44", `{"Image":"a","MacAddress":"02:42:ac:11:00:02","NetworkingConfig":{"EndpointsConfig":{"other":{}}}}`,
			`{"message":"unable to migrate container-wide MAC address to a specific network: HostConfig.NetworkMode must match the identity of a network in NetworkSettings.Networks"}`},
		{"1.45", `[`, `{"message":"invalid JSON: unexpected EOF"}`},
		{"1.45", `{"Image":{}}`, `{"message":"invalid JSON: json: cannot unmarshal object into Go struct field CreateBody.CreateRequest.Config.Image of type string"}`},
	} {
		_, status, answer := created(t, "/v"+test.version+"/containers/create", test.body)
		if status != 400 || answer != test.want {
			t.Errorf("%s %s: %d %s", test.version, test.body, status, answer)
		}
	}
}

func TestCreateWarnings(t *testing.T) {
	_, _, answer := created(t, "/v1.44/containers/create", `{"Image":"a","MacAddress":"02:42:ac:11:00:02"}`)
	if !strings.Contains(answer, `["The container-wide MacAddress field is now deprecated. It should be specified in EndpointsConfig instead."]`) {
		t.Error(answer)
	}
	_, _, answer = created(t, "/v1.48/containers/create", `{"Image":"a","HostConfig":{"VolumeDriver":"x","Mounts":[{"Type":"volume"}]}}`)
	if !strings.Contains(answer, "WARNING: the container-wide volume-driver configuration is ignored") {
		t.Error(answer)
	}
	o, _, answer := created(t, "/v1.52/containers/create", `{"Image":"a","MacAddress":"02:42:ac:11:00:02"}`)
	if answer != `{"Id":"abc","Warnings":[]}` || len(o.Networking.EndpointsConfig) != 0 {
		t.Errorf("1.52 no longer has the field: %s", answer)
	}
}

func TestUpdateAndStop(t *testing.T) {
	var signal string
	var timeout *int
	p := Parts{Lives: fakeLives{stop: func(_, s string, t *int) error { signal, timeout = s, t; return nil }}}
	if w := ask(t, p, "POST", "/v1.41/containers/x/stop?t=7&signal=HUP", ""); w.Code != 204 || signal != "" || *timeout != 7 {
		t.Errorf("%d %q %v", w.Code, signal, timeout)
	}
	if w := ask(t, p, "POST", "/v1.42/containers/x/restart?signal=HUP", ""); w.Code != 204 || signal != "HUP" || timeout != nil {
		t.Errorf("%d %q %v", w.Code, signal, timeout)
	}
	if w := ask(t, p, "POST", "/containers/x/stop?t=soon", ""); w.Code != 400 {
		t.Errorf("%d", w.Code)
	}
}
