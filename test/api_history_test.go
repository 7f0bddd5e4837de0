package test

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// change is a line of the API's history: a field that came with a version, or was gone with one.
type change struct {
	path, field string
	since       int // the first minor version that shows it, 0 for all
	until       int // the last that does, 0 for all
}

var history = []change{
	{"/containers/json", "[].Health", 52, 0},
	{"/containers/json", "[].ImageManifestDescriptor", 48, 0},
	{"/containers/json", "[].HostConfig.Annotations", 46, 0},
	{"/containers/old/json", ".ImageManifestDescriptor", 48, 0},
	{"/containers/old/json", ".GraphDriver", 0, 51},
	{"/containers/old/json", ".Storage", 52, 0},
	{"/containers/old/json", ".Config.OnBuild", 0, 51},
	{"/containers/old/json", ".NetworkSettings.Bridge", 0, 51},
	{"/containers/old/json", ".NetworkSettings.HairpinMode", 0, 51},
	{"/containers/old/json", ".NetworkSettings.IPAddress", 0, 51},
	{"/containers/old/json", ".NetworkSettings.SecondaryIPAddresses", 0, 51},
	{"/images/json", "[].VirtualSize", 0, 43},
	{"/images/json", "[].Descriptor", 48, 0},
	{"/images/json?manifests=1", "[].Manifests", 47, 0},
	{"/images/busybox/json", ".VirtualSize", 0, 43},
	{"/images/busybox/json", ".Container", 0, 44},
	{"/images/busybox/json", ".ContainerConfig", 0, 44},
	{"/images/busybox/json", ".Descriptor", 48, 0},
	{"/images/busybox/json?manifests=1", ".Manifests", 48, 0},
	{"/images/busybox/json", ".Config.Hostname", 0, 49},
	{"/images/busybox/json", ".Config.Entrypoint", 0, 51},
	{"/images/busybox/json", ".Author", 0, 51},
	{"/images/busybox/json", ".DockerVersion", 0, 51},
	{"/images/busybox/json", ".GraphDriver", 0, 0},
	{"/networks", "[].Containers", 0, 51},
	{"/networks/bridge", ".Status", 52, 0},
	{"/info", ".BridgeNfIptables", 0, 49},
	{"/info", ".FirewallBackend", 49, 0},
	{"/info", ".RuncCommit.Expected", 0, 48},
	{"/info", ".RegistryConfig.AllowNondistributableArtifactsCIDRs", 0, 46},
	{"/info", ".SystemStatus", 99, 0},
	{"/system/df", ".BuilderSize", 0, 41},
	{"/system/df", ".Images", 0, 52},
	{"/system/df", ".LayersSize", 0, 52},
	{"/system/df", ".ImageUsage", 52, 0},
	{"/system/df?verbose=1", ".Images", 0, 51},
	{"/system/df?verbose=1", ".ImageUsage.Items", 52, 0},
	{"/events?since=1&until=$now&" + filters(`{"type":["container"]}`), "[].status", 0, 51},
	{"/events?since=1&until=$now&" + filters(`{"type":["container"]}`), "[].id", 0, 51},
}

// TestHistory walks through the history of the API: at each version every field is there or not, as the history says.
func TestHistory(t *testing.T) {
	needRoot(t)
	images(t)
	e := newEngine(t)
	e.Start()
	s := newSpeaker(t, e.Socket())
	s.loadImage("busybox")
	s.must("POST", "/networks/create", fmt.Sprintf(`{"Name":"net","IPAM":{"Config":[{"Subnet":"%s.0/24"}]}}`, e.Subnet))
	body := `{"Image":"busybox","Cmd":["sleep","1000"],"Hostname":"who","HostConfig":{"NetworkMode":"net","Annotations":{"a":"b"}}}`
	id := s.must("POST", "/containers/create?name=old", body).field("Id")
	s.must("POST", "/containers/"+id+"/start", "")
	now := fmt.Sprint(time.Now().Unix() + 1)
	for i, version := range spoken(t) {
		minor := 24 + i
		prefix := "/v" + version
		answers := map[string]any{}
		for _, c := range history {
			path := strings.ReplaceAll(c.path, "$now", now)
			if answers[path] == nil {
				r := s.must("GET", prefix+path, "")
				answers[path] = r.value()
				if strings.HasPrefix(path, "/events") { // one object a line
					first, _, _ := strings.Cut(string(r.body), "\n")
					answers[path] = reply{body: []byte("[" + first + "]")}.value()
				}
			}
			want := minor >= c.since && (c.until == 0 || minor <= c.until)
			if there := has(answers[path], c.field); there != want {
				t.Errorf("%s: GET %s: %s is there: %v, want %v", version, c.path, c.field, there, want)
			}
		}
		historyOfValues(t, s, minor, id)
	}
}

// has tells whether a value has a field, ".a.b", or for a list "[].a.b" that its first element has.
func has(value any, path string) bool {
	if rest, ok := strings.CutPrefix(path, "[]"); ok {
		list, _ := value.([]any)
		return len(list) > 0 && has(list[0], rest)
	}
	name, rest, deeper := strings.Cut(strings.TrimPrefix(path, "."), ".")
	object, _ := value.(map[string]any)
	inner, there := object[name]
	if !deeper {
		return there
	}
	return has(inner, "."+rest)
}

// historyOfValues looks at what is said otherwise, not only shown or not.
func historyOfValues(t *testing.T, s *speaker, minor int, id string) {
	t.Helper()
	prefix := fmt.Sprintf("/v1.%d", minor)
	aliases := fmt.Sprint(dig(s.must("GET", prefix+"/containers/old/json", "").value(), "NetworkSettings", "Networks", "net", "Aliases"))
	if got, want := strings.Contains(aliases, id[:12]), minor < 45; got != want {
		t.Errorf("1.%d: the aliases are %s", minor, aliases)
	}
	kind, want := s.must("GET", prefix+"/containers/old/logs?stdout=1", "").header.Get("Content-Type"), "application/vnd.docker.multiplexed-stream"
	if minor < 42 {
		want = "application/vnd.docker.raw-stream"
	}
	if kind != want {
		t.Errorf("1.%d: logs are %s", minor, kind)
	}
	made := s.must("POST", prefix+"/containers/create", `{"Image":"busybox","HostConfig":{"Mounts":[{"Type":"bind","Source":"/usr","Target":"/x","ReadOnly":true}]}}`).field("Id")
	mounts, _ := dig(s.must("GET", prefix+"/containers/"+made+"/json", "").value(), "HostConfig", "Mounts").([]any)
	if len(mounts) != 1 || (dig(mounts[0], "BindOptions", "ReadOnlyNonRecursive") == true) != (minor < 44) {
		t.Errorf("1.%d: mounts: %v", minor, mounts)
	}
	ipc := dig(s.must("GET", prefix+"/containers/"+made+"/json", "").value(), "HostConfig", "IpcMode")
	if (ipc == "shareable") != (minor < 40) {
		t.Errorf("1.%d: IPC is %v", minor, ipc)
	}
	s.must("DELETE", prefix+"/containers/"+made, "")
	if minor >= 30 { // before, conditions were not looked at
		if r := s.say("POST", prefix+"/containers/old/wait?condition=nix", ""); r.status != 400 {
			t.Errorf("1.%d: a condition that is none: %d %s", minor, r.status, r.body)
		}
	}
}

// dig follows names through objects.
func dig(value any, names ...string) any {
	for _, name := range names {
		object, _ := value.(map[string]any)
		value = object[name]
	}
	return value
}
