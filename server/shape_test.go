package server

import (
	"bytes"
	"encoding/json"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	ct "github.com/moby/moby/api/types/container"
	it "github.com/moby/moby/api/types/image"
	nt "github.com/moby/moby/api/types/network"
	st "github.com/moby/moby/api/types/system"
	vt "github.com/moby/moby/api/types/volume"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cove-containers/cove/api"
	"github.com/cove-containers/cove/oci"
	"github.com/cove-containers/cove/server/shape"
)

var update = flag.Bool("update", false, "write the files in testdata instead of comparing with them")

// samples are the objects whose shapes the golden files show.
func samples() Parts {
	endpoint := func() *nt.EndpointSettings {
		return &nt.EndpointSettings{
			NetworkID: "net", EndpointID: "end", Gateway: netip.MustParseAddr("172.17.0.1"), IPAddress: netip.MustParseAddr("172.17.0.2"),
			IPPrefixLen: 16, MacAddress: nt.HardwareAddr{2, 0x42, 0xac, 0x11, 0, 2}, DNSNames: []string{"c", "0123456789ab"},
		}
	}
	descriptor := &ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: "sha256:01", Size: 1}
	port := nt.MustParsePort("80/tcp")
	summary := ct.Summary{
		ID: "0123456789abcdef", Names: []string{"/c"}, Image: "busybox", ImageID: "sha256:01", ImageManifestDescriptor: descriptor, Command: "sleep 300", Created: 1,
		Ports: []ct.PortSummary{{IP: netip.IPv6Unspecified(), PrivatePort: 80, PublicPort: 8080, Type: "tcp"}, {PrivatePort: 81, Type: "udp"}},
		State: "running", Status: "Up 1 second", Health: &ct.HealthSummary{Status: "none"}, Mounts: []ct.MountPoint{}, Labels: map[string]string{},
		NetworkSettings: &ct.NetworkSettingsSummary{Networks: map[string]*nt.EndpointSettings{"bridge": endpoint()}},
	}
	summary.HostConfig.NetworkMode = "bridge"
	summary.HostConfig.Annotations = map[string]string{"a": "b"}
	image := it.Summary{ID: "sha256:01", RepoTags: []string{"busybox:latest"}, Created: 1, Size: 7, SharedSize: -1, Containers: 2, Descriptor: descriptor}
	return Parts{
		Containers: fakeContainers{
			list: []ct.Summary{summary},
			inspect: ct.InspectResponse{
				ID: "0123456789abcdef", Created: "2026-01-02T03:04:05.000000006Z", Path: "sleep", Args: []string{"300"}, State: &ct.State{Status: "running", Running: true, Pid: 7},
				Image: "sha256:01", Name: "/c", Driver: "overlayfs", Platform: "linux", HostConfig: &ct.HostConfig{NetworkMode: "bridge", DNS: []netip.Addr{}},
				Mounts: []ct.MountPoint{}, Config: &ct.Config{Hostname: "host", Image: "busybox", Cmd: []string{"sleep", "300"}}, ImageManifestDescriptor: descriptor,
				NetworkSettings: &ct.NetworkSettings{SandboxID: "box", SandboxKey: "/proc/7/ns/net", Ports: nt.PortMap{port: {{HostIP: netip.IPv4Unspecified(), HostPort: "8080"}}},
					Networks: map[string]*nt.EndpointSettings{"bridge": endpoint(), "mine": endpoint()}},
			},
		},
		Images: fakeImages{
			list: []it.Summary{image, {ID: "sha256:02", Containers: 0, Created: 1}},
			inspect: it.InspectResponse{ID: "sha256:01", RepoTags: []string{"busybox:latest"}, Architecture: "amd64", Os: "linux", Size: 7, RootFS: it.RootFS{Type: "layers", Layers: []string{"sha256:03"}},
				Config: &oci.ImageConfig{ImageConfig: ocispec.ImageConfig{Cmd: []string{"sh"}}}, Descriptor: descriptor, Identity: &it.Identity{}},
		},
		System: fakeSystem{
			info: st.Info{ID: "id", Containers: 1, Driver: "overlayfs", SecurityOptions: []string{"name=seccomp,profile=builtin", "name=cgroupns"}, Runtimes: map[string]st.RuntimeWithStatus{"cove": {Runtime: st.Runtime{Path: "cove-runtime"}, Status: map[string]string{"a": "b"}}},
				Containerd: &st.ContainerdInfo{}, FirewallBackend: &st.FirewallInfo{Driver: "nftables"}, RuncCommit: st.Commit{ID: "r"}, NRI: &st.NRIInfo{}},
			version: st.VersionResponse{Version: "0.1.0", APIVersion: "1.56", MinAPIVersion: "1.24", Os: "linux", Arch: "amd64"},
		},
		Housekeeping: fakeHouse{st.DiskUsage{
			ImageUsage:     &it.DiskUsage{TotalCount: 1, TotalSize: 7, Items: []it.Summary{image}},
			ContainerUsage: &ct.DiskUsage{TotalCount: 1, Items: []ct.Summary{summary}},
			VolumeUsage:    &vt.DiskUsage{TotalCount: 1, Items: []vt.Volume{{Name: "v", Driver: "local", Scope: "local"}}},
		}},
		Builds: fakeBuilds{},
	}
}

func TestShapes(t *testing.T) {
	for name, path := range map[string]string{
		"container-inspect-1.24": "/v1.24/containers/c/json",
		"container-inspect-1.51": "/v1.51/containers/c/json",
		"container-inspect-1.56": "/v1.56/containers/c/json",
		"container-list-1.45":    "/v1.45/containers/json",
		"container-list-1.56":    "/v1.56/containers/json",
		"image-inspect-1.43":     "/v1.43/images/a/json",
		"image-inspect-1.50":     "/v1.50/images/a/json",
		"image-inspect-1.56":     "/v1.56/images/a/json",
		"image-list-1.42":        "/v1.42/images/json",
		"image-list-1.50":        "/v1.50/images/json",
		"image-list-1.56":        "/v1.56/images/json",
		"info-1.24":              "/v1.24/info",
		"info-1.49":              "/v1.49/info",
		"info-1.56":              "/v1.56/info",
		"version":                "/version",
		"usage-1.41":             "/v1.41/system/df",
		"usage-1.52":             "/v1.52/system/df",
		"usage-1.56":             "/v1.56/system/df",
		"usage-1.56-verbose":     "/v1.56/system/df?verbose=1",
	} {
		t.Run(name, func(t *testing.T) {
			w := ask(t, samples(), "GET", path, "")
			if w.Code != 200 || w.Header().Get("Content-Type") != "application/json" {
				t.Fatalf("%d %s", w.Code, w.Body)
			}
			var got bytes.Buffer
			if err := json.Indent(&got, w.Body.Bytes(), "", " "); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join("testdata", name+".json")
			if *update {
				if err := os.WriteFile(file, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got.Bytes(), want) {
				t.Errorf("is no longer what %s shows:\n%s", file, got.Bytes())
			}
		})
	}
}

// TestEmptyLists: a client that gets null where it expects a list may fall over.
func TestEmptyLists(t *testing.T) {
	p := Parts{Builds: fakeBuilds{}, Containers: fakeContainers{}, Images: fakeImages{}, Housekeeping: fakeHouse{st.DiskUsage{ImageUsage: &it.DiskUsage{}, ContainerUsage: &ct.DiskUsage{}, VolumeUsage: &vt.DiskUsage{}}}}
	for path, want := range map[string]string{
		"/containers/json":      "[]\n",
		"/images/json":          "[]\n",
		"/images/a/history":     "[]\n",
		"/containers/a/changes": "null\n", // dockerd's own
		"/v1.41/system/df":      `{"LayersSize":0,"Images":[],"Containers":[],"Volumes":[],"BuildCache":[],"BuilderSize":0}` + "\n",
	} {
		if w := ask(t, p, "GET", path, ""); w.Code != 200 || w.Body.String() != want {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
}

func TestUsageOfSomeKinds(t *testing.T) {
	if w := ask(t, samples(), "GET", "/system/df?type=nonsense", ""); w.Code != 400 || w.Body.String() != `{"message":"unknown object type: nonsense"}`+"\n" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := ask(t, samples(), "GET", "/system/df?verbose=x", ""); w.Code != 400 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// TestAnswersAreNotShared: shaping an answer must not change what the engine keeps.
func TestAnswersAreNotShared(t *testing.T) {
	p := samples()
	before, _ := json.Marshal(p.Containers.(fakeContainers).inspect)
	for _, path := range []string{"/v1.24/containers/c/json", "/v1.24/containers/json", "/v1.24/info"} {
		ask(t, p, "GET", path, "")
	}
	after, _ := json.Marshal(p.Containers.(fakeContainers).inspect)
	if !bytes.Equal(before, after) {
		t.Errorf("was %s\nis %s", before, after)
	}
}

func BenchmarkInspect(b *testing.B) {
	found := samples().Containers.(fakeContainers).inspect
	for b.Loop() {
		if _, err := shape.EncodeJSON(shape.InspectContainer(1050, api.Container{InspectResponse: found})); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkList(b *testing.B) {
	one := samples().Containers.(fakeContainers).list[0]
	one.Created = time.Now().Unix()
	for b.Loop() {
		all := make([]shape.ListedContainer, 200)
		for i := range all {
			all[i] = shape.ListContainer(1050, one)
		}
		if _, err := shape.EncodeJSON(all); err != nil {
			b.Fatal(err)
		}
	}
}

// TestSystemCheck: what is asked for reaches the keeper of the house, and what it says the client.
func TestSystemCheck(t *testing.T) {
	for path, want := range map[string]string{
		"/cove/system/check":                       `{"Checked":{"blobs":2},"Faults":[{"Kind":"blob","Name":"x","Problem":"bad"}]}` + "\n",
		"/v1.56/cove/system/check?repair=1&deep=1": `{"Checked":{"blobs":2},"Faults":[{"Kind":"blob","Name":"x","Problem":"bad","Repaired":true}]}` + "\n",
	} {
		if w := ask(t, samples(), "POST", path, ""); w.Code != 200 || w.Body.String() != want {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
}
