package server

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/url"
	"strings"
	"testing"

	it "github.com/moby/moby/api/types/image"
	nt "github.com/moby/moby/api/types/network"
	vt "github.com/moby/moby/api/types/volume"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cove-containers/cove/api"
	"github.com/cove-containers/cove/engine"
	"github.com/cove-containers/cove/image"
	"github.com/cove-containers/cove/ref"
	"github.com/cove-containers/cove/remote"
)

// record writes down what it was asked.
type record struct{ calls []string }

func (r *record) note(format string, args ...any) {
	r.calls = append(r.calls, fmt.Sprintf(format, args...))
}

type fakeVolumes struct{ *record }

func (f fakeVolumes) Create(_ context.Context, r vt.CreateRequest) (vt.Volume, error) {
	f.note("create volume %s %v", r.Name, r.Labels)
	return vt.Volume{Name: r.Name}, nil
}
func (f fakeVolumes) Get(name string) (vt.Volume, error) { return vt.Volume{Name: name}, nil }
func (f fakeVolumes) List(filters api.Filters) ([]vt.Volume, error) {
	f.note("list volumes %s", filters.Encode())
	return nil, nil
}
func (f fakeVolumes) Remove(_ context.Context, name string, force bool) error {
	f.note("remove volume %s %v", name, force)
	return nil
}
func (f fakeVolumes) Prune(_ context.Context, filters api.Filters) (vt.PruneReport, error) {
	f.note("prune volumes %s", filters.Encode())
	return vt.PruneReport{}, nil
}

type fakeNetworks struct{ *record }

func (f fakeNetworks) Create(_ context.Context, r nt.CreateRequest) (nt.CreateResponse, error) {
	f.note("create network %s %v", r.Name, r.EnableIPv4 != nil)
	return nt.CreateResponse{ID: "n"}, nil
}
func (f fakeNetworks) Inspect(name string) (nt.Inspect, error) {
	return nt.Inspect{Network: nt.Network{Name: name}, Status: &nt.Status{}}, nil
}
func (f fakeNetworks) List(api.Filters) ([]nt.Inspect, error) {
	return []nt.Inspect{{Network: nt.Network{Name: "n"}, Containers: map[string]nt.EndpointResource{"c": {}}}}, nil
}
func (f fakeNetworks) Remove(_ context.Context, name string) error {
	f.note("remove network %s", name)
	return nil
}
func (f fakeNetworks) Prune(context.Context, api.Filters) (nt.PruneReport, error) {
	return nt.PruneReport{}, nil
}

// fakeRegistry serves one document, and one config blob.
type fakeRegistry struct {
	*record
	mediaType      string
	document, blob []byte
}

func (f fakeRegistry) Login(_ context.Context, address string, cred remote.Credentials) (string, error) {
	f.note("login %s %s %s", address, cred.Username, cred.Password)
	return "token", nil
}
func (f fakeRegistry) Search(_ context.Context, host, term string, limit int, _ *remote.Session) ([]remote.Found, error) {
	f.note("search %s %q %d", host, term, limit)
	return []remote.Found{{Name: "a", Description: "d", Stars: 3, Official: true}, {Name: "b", Stars: 1}}, nil
}
func (f fakeRegistry) Manifest(_ context.Context, name ref.Name, _ *remote.Session) (ocispec.Descriptor, []byte, error) {
	f.note("manifest %s", name)
	return ocispec.Descriptor{MediaType: f.mediaType, Digest: digest.FromBytes(f.document), Size: int64(len(f.document))}, f.document, nil
}
func (f fakeRegistry) Blob(context.Context, ref.Name, ocispec.Descriptor, int64, *remote.Session) (io.ReadCloser, int64, error) {
	return io.NopCloser(bytes.NewReader(f.blob)), 0, nil
}

func TestCalls(t *testing.T) {
	r := &record{}
	p := samples()
	p.Volumes, p.Networks, p.Registry = fakeVolumes{r}, fakeNetworks{r}, fakeRegistry{record: r}
	p.Course, p.Execs = fakeCourse{}, fakeExecs{}
	p.Lives = fakeLives{remove: func(ref string, o engine.RemoveOptions) error {
		r.note("remove %s %v %v", ref, o.Force, o.Volumes)
		return nil
	}}
	p.Images = fakeImages{remove: func(ref string, o image.RemoveOptions) ([]it.DeleteResponse, error) {
		r.note("remove image %s %v %v", ref, o.Force, o.PruneChildren)
		return []it.DeleteResponse{{Untagged: ref}}, nil
	}}
	p.Transfers = fakeTransfers{tag: func(source, target string) error {
		r.note("tag %s %s", source, target)
		return nil
	}}
	for _, test := range []struct {
		request, body string
		status        int
		answer, call  string
	}{
		{"POST /containers/c/pause", "", 204, "", ""},
		{"POST /containers/c/unpause", "", 204, "", ""},
		{"POST /containers/c/kill?signal=HUP", "", 204, "", ""},
		{"POST /containers/c/rename?name=d", "", 204, "", ""},
		{"POST /containers/c/update", `{"PidsLimit":-1}`, 200, `{"Warnings":null}`, ""},
		{"POST /v1.39/containers/c/update", `{"PidsLimit":5}`, 200, `{"Warnings":null}`, ""},
		{"GET /containers/c/top", "", 200, `{"Processes":null,"Titles":null}`, ""},
		{"GET /images/search?term=a/b", "", 200, `[{"star_count":3,"is_official":true,"name":"a","is_automated":false,"description":"d"},{"star_count":1,"is_official":false,"name":"b","is_automated":false,"description":""}]`, `search docker.io "a/b" 25`},
		{"GET /images/search?term=r:5000/a/b&limit=7", "", 200, "", `search r:5000 "a/b" 7`},
		{"GET /images/search?term=library/a&filters=" + url.QueryEscape(`{"stars":["2","1"]}`), "", 200, `[{"star_count":3,"is_official":true,"name":"a","is_automated":false,"description":"d"}]`, `search docker.io "a" 25`},
		{"GET /images/search?term=index.docker.io/a&filters=" + url.QueryEscape(`{"is-official":["false"]}`), "", 200, `[{"star_count":1,"is_official":false,"name":"b","is_automated":false,"description":""}]`, `search docker.io "a" 25`},
		{"GET /images/search?term=a&filters=" + url.QueryEscape(`{"is-automated":["true"]}`), "", 200, `[]`, ""},
		{"GET /images/search?term=a&filters=" + url.QueryEscape(`{"nope":["true"]}`), "", 400, `{"message":"invalid filter 'nope'"}`, ""},
		{"GET /images/search?term=a&filters=" + url.QueryEscape(`{"stars":["x"]}`), "", 400, `{"message":"invalid filter 'stars=x'"}`, ""},
		{"GET /images/search?term=a&limit=101", "", 400, `{"message":"limit 101 is outside the range of [1, 100]"}`, ""},
		{"GET /images/search?term=a&limit=-1", "", 400, `{"message":"invalid limit specified"}`, ""},
		{"GET /images/search?term=http://a/b", "", 400, `{"message":"invalid repository name: repository name (http://a/b) should not have a scheme"}`, ""},
		{"POST /containers/prune", "", 200, `{"ContainersDeleted":null,"SpaceReclaimed":0}`, ""},
		{"POST /containers/prune?filters=x", "", 400, `{"message":"invalid filter \"x\""}`, ""},
		{"DELETE /containers/c?force=1&v=1", "", 204, "", "remove c true true"},
		{"DELETE /containers/c?link=1", "", 409, `{"message":"Conflict, cannot remove the default link name of the container"}`, ""},
		{"DELETE /containers/c/db?link=1", "", 501, `{"message":"removing a link is not supported by this version of Cove"}`, ""},
		{"POST /containers/c/start?checkpoint=x", "", 400, `{"message":"checkpoint is only supported in experimental mode"}`, ""},
		{"GET /containers/c/checkpoints", "", 501, `{"message":"This experimental feature is disabled by default. Start the Docker daemon in experimental mode in order to enable it."}`, ""},
		{"GET /exec/e/json", "", 200, "", ""},
		{"POST /exec/e/resize?h=1&w=2", "", 200, "", ""},
		{"DELETE /images/r/a:1?force=1", "", 200, `[{"Untagged":"r/a:1"}]`, "remove image r/a:1 true true"},
		{"DELETE /images/a?noprune=1", "", 200, `[{"Untagged":"a"}]`, "remove image a false false"},
		{"DELETE /images/%20", "", 400, `{"message":"image name cannot be blank"}`, ""},
		{"DELETE /images/a?platforms=%7B%7D", "", 400, "", ""},
		{"POST /images/prune", "", 200, `{"ImagesDeleted":null,"SpaceReclaimed":0}`, ""},
		{"POST /images/a/tag?repo=b&tag=2", "", 201, "", "tag a docker.io/library/b:2"},
		{"POST /images/a/b/tag?repo=r:5000/b", "", 201, "", "tag a/b r:5000/b:latest"},
		{"POST /images/a/tag?repo=sha256&tag=x", "", 400, `{"message":"refusing to create an ambiguous tag using digest algorithm as name"}`, ""},
		{"POST /images/a/tag?repo=b@sha256:" + strings.Repeat("0", 64), "", 400, `{"message":"cannot import digest reference"}`, ""},
		{"POST /images/a/tag?repo=B", "", 400, "", ""},
		{"GET /volumes", "", 200, `{"Volumes":[],"Warnings":null}`, "list volumes "},
		{"GET /volumes/v", "", 200, "", ""},
		{"POST /volumes/create", `{"Name":"v","Labels":{"a":"b"}}`, 201, "", "create volume v map[a:b]"},
		{"POST /volumes/create", `{"ClusterVolumeSpec":{}}`, 503, "", ""},
		{"DELETE /volumes/v?force=1", "", 204, "", "remove volume v true"},
		{"POST /volumes/prune", "", 200, `{"VolumesDeleted":[],"SpaceReclaimed":0}`, "prune volumes "},
		{"POST /v1.41/volumes/prune", "", 200, "", `prune volumes {"all":{"true":true}}`},
		{"POST /networks/create", `{"Name":"n","EnableIPv4":false}`, 201, `{"Id":"n","Warning":""}`, "create network n true"},
		{"POST /v1.47/networks/create", `{"Name":"n","EnableIPv4":false}`, 201, "", "create network n false"},
		{"DELETE /networks/n", "", 204, "", "remove network n"},
		{"POST /networks/prune", "", 200, `{"NetworksDeleted":null}`, ""},
		{"GET /networks/n?verbose=perhaps", "", 400, "", ""},
		{"POST /auth", `{"username":"u","password":"p","serveraddress":"r"}`, 200, `{"IdentityToken":"token","Status":"Login Succeeded"}`, "login r u p"},
		{"POST /auth", `{`, 400, "", ""},
	} {
		r.calls = nil
		method, path, _ := strings.Cut(test.request, " ")
		w := ask(t, p, method, path, test.body)
		answer := strings.TrimSpace(w.Body.String())
		if w.Code != test.status || test.answer != "" && answer != test.answer {
			t.Errorf("%s: %d %s", test.request, w.Code, answer)
		}
		if got := strings.Join(r.calls, ";"); got != test.call {
			t.Errorf("%s: called %q, want %q", test.request, got, test.call)
		}
	}
}

func TestNetworkShapes(t *testing.T) {
	p := Parts{Networks: fakeNetworks{&record{}}}
	for path, want := range map[string]bool{
		"/v1.27/networks": true, // with the containers
		"/v1.28/networks": false,
		"/networks/":      false,
	} {
		if w := ask(t, p, "GET", path, ""); strings.Contains(w.Body.String(), `"c":`) != want {
			t.Errorf("%s: %s", path, w.Body)
		}
	}
	for path, want := range map[string]bool{"/v1.51/networks": true, "/v1.52/networks": false} {
		if w := ask(t, p, "GET", path, ""); strings.Contains(w.Body.String(), `"Containers":{}`) != want {
			t.Errorf("%s: %s", path, w.Body)
		}
	}
	for path, want := range map[string]bool{"/v1.51/networks/n": false, "/v1.52/networks/n": true} {
		if w := ask(t, p, "GET", path, ""); strings.Contains(w.Body.String(), `"Status"`) != want {
			t.Errorf("%s: %s", path, w.Body)
		}
	}
}

func TestDistribution(t *testing.T) {
	config := []byte(`{"os":"linux","architecture":"arm64","rootfs":{"type":"layers","diff_ids":[]}}`)
	manifest := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":%q,"digest":%q,"size":%d},"layers":[]}`,
		ocispec.MediaTypeImageManifest, ocispec.MediaTypeImageConfig, digest.FromBytes(config), len(config))
	index := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[{"mediaType":%q,"digest":%q,"size":1,"platform":{"os":"linux","architecture":"s390x"}}]}`,
		ocispec.MediaTypeImageIndex, ocispec.MediaTypeImageManifest, digest.FromString("x"))
	for _, test := range []struct{ kind, document, blob, want string }{
		{ocispec.MediaTypeImageManifest, manifest, string(config), `"Platforms":[{"architecture":"arm64","os":"linux"}]`},
		{ocispec.MediaTypeImageManifest, manifest, `{"os":"lie"}`, `"Platforms":null`},
		{ocispec.MediaTypeImageIndex, index, "", `"Platforms":[{"architecture":"s390x","os":"linux"}]`},
	} {
		r := &record{}
		w := ask(t, Parts{Registry: fakeRegistry{r, test.kind, []byte(test.document), []byte(test.blob)}}, "GET", "/distribution/h:1/a/json", "")
		if w.Code != 200 || !strings.Contains(w.Body.String(), test.want) || !strings.Contains(w.Body.String(), digest.FromString(test.document).String()) {
			t.Errorf("%s: %d %s", test.kind, w.Code, w.Body)
		}
		if len(r.calls) != 1 || r.calls[0] != "manifest h:1/a:latest" {
			t.Errorf("%q", r.calls)
		}
	}
	if w := ask(t, Parts{Registry: fakeRegistry{record: &record{}}}, "GET", "/distribution/UPPER/json", ""); w.Code != 400 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}
