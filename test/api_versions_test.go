package test

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cove-containers/cove/api"
)

// spoken are all versions of the API that the daemon speaks, the oldest first.
func spoken(t *testing.T) []string {
	t.Helper()
	last, err := strconv.Atoi(strings.TrimPrefix(api.Version, "1."))
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for minor := 24; minor <= last; minor++ {
		all = append(all, fmt.Sprintf("1.%d", minor))
	}
	return all
}

// checked asks at one version of the API and compares each answer with the description of that version.
type checked struct {
	*speaker
	version  string
	document *document
	told     *told
}

// ask sends a request for the described path, whose names are replaced by values in turn, and compares what comes back.
// query has what else goes after the path.
func (c *checked) ask(method, template, query, body string, want int, values ...string) reply {
	c.t.Helper()
	path := template
	for _, v := range values {
		before, rest, _ := strings.Cut(path, "{")
		_, after, _ := strings.Cut(rest, "}")
		path = before + v + after
	}
	r := c.say(method, "/v"+c.version+path+query, body)
	if r.status != want {
		c.t.Errorf("%s: %s %s%s: %d, want %d: %s", c.version, method, path, query, r.status, want, r.body)
		return r
	}
	c.compareReply(method, template, r)
	return r
}

func (c *checked) compareReply(method, template string, r reply) {
	c.t.Helper()
	at := fmt.Sprintf("%s %s %s %d", c.version, method, template, r.status)
	operation := c.document.operation(method, template)
	if operation == nil {
		c.told.add(at + ": the call is not described")
		return
	}
	if responses, _ := operation["responses"].(map[string]any); responses[strconv.Itoa(r.status)] == nil {
		c.told.add(at + ": the status is not described")
	}
	if schema := c.document.schema(method, template, r.status); schema != nil && strings.HasPrefix(r.header.Get("Content-Type"), "application/json") {
		c.document.compare(at, r.value(), schema, c.told.add)
	}
}

// TestEveryVersion asks for everything that can be asked, at every version of the API, and holds the answers against the
// published description of that version: statuses, fields, their kinds, what must be there.
func TestEveryVersion(t *testing.T) {
	t.Parallel()
	needRoot(t)
	images(t)
	e := newEngine(t)
	e.Start()
	s := newSpeaker(t, e.Socket())
	s.loadImage("busybox")
	s.must("POST", "/volumes/create", `{"Name":"data","Labels":{"a":"b"}}`)
	s.must("POST", "/networks/create", fmt.Sprintf(`{"Name":"net","IPAM":{"Config":[{"Subnet":"%s.0/24"}]}}`, e.Subnet))
	create := `{"Image":"busybox","Cmd":["sleep","1000"],"ExposedPorts":{"80/tcp":{},"81/tcp":{}},"Labels":{"a":"b"},
		"Healthcheck":{"Test":["CMD","true"],"Interval":3600000000000},
		"HostConfig":{"NetworkMode":"net","Binds":["data:/data"],"PortBindings":{"80/tcp":[{"HostIp":"127.0.0.1","HostPort":"0"}]}},
		"NetworkingConfig":{"EndpointsConfig":{"net":{"Aliases":["x"]}}}}`
	id := s.must("POST", "/containers/create?name=long", create).field("Id")
	s.must("POST", "/containers/"+id+"/start", "")
	excuses := readExcuses(t, "testdata/api/described.txt")
	for _, version := range spoken(t) {
		described := version
		if version == "1.24" {
			described = "1.25" // the first that is more than prose
		}
		c := &checked{speaker: s, version: version, document: readDocument(t, described), told: excuses}
		c.reads(id)
		c.deeds()
		c.refusals(id)
	}
	excuses.done()
}

// reads asks for what only shows something.
func (c *checked) reads(id string) {
	c.t.Helper()
	for _, query := range []string{"", "?all=1", "?all=1&size=1&limit=5"} {
		c.ask("GET", "/containers/json", query, "", 200)
	}
	c.ask("GET", "/containers/{id}/json", "", "", 200, id)
	c.ask("GET", "/containers/{id}/json", "?size=1", "", 200, "long")
	c.ask("GET", "/containers/{id}/top", "", "", 200, id)
	c.ask("GET", "/containers/{id}/changes", "", "", 200, id)
	c.ask("GET", "/containers/{id}/logs", "?stdout=1&tail=10", "", 200, id)
	c.ask("GET", "/containers/{id}/stats", "?stream=0&one-shot=1", "", 200, "long")
	c.ask("GET", "/images/json", "", "", 200)
	c.ask("GET", "/images/json", "?all=1&digests=1&shared-size=1&manifests=1", "", 200)
	c.ask("GET", "/images/{name}/json", "", "", 200, "busybox")
	c.ask("GET", "/images/{name}/history", "", "", 200, "busybox:latest")
	c.ask("GET", "/info", "", "", 200)
	c.ask("GET", "/version", "", "", 200)
	c.ask("GET", "/_ping", "", "", 200)
	c.ask("GET", "/system/df", "", "", 200)
	c.ask("GET", "/volumes", "", "", 200)
	c.ask("GET", "/volumes/{name}", "", "", 200, "data")
	c.ask("GET", "/networks", "", "", 200)
	c.ask("GET", "/networks/{id}", "", "", 200, "net")
	c.ask("GET", "/networks/{id}", "", "", 200, "bridge")
	c.ask("GET", "/plugins", "", "", 200)
	now := time.Now().Unix()
	c.ask("GET", "/events", fmt.Sprintf("?since=%d&until=%d", now-3600, now), "", 200)
}

// deeds makes one of everything and removes it again.
func (c *checked) deeds() {
	c.t.Helper()
	id := c.ask("POST", "/containers/create", "?name=short", `{"Image":"busybox","Cmd":["sleep","100"],"StopTimeout":0}`, 201).field("Id")
	c.ask("POST", "/containers/{id}/start", "", "", 204, id)
	c.ask("POST", "/containers/{id}/start", "", "", 304, id)
	c.ask("POST", "/containers/{id}/pause", "", "", 204, id)
	c.ask("POST", "/containers/{id}/unpause", "", "", 204, id)
	c.ask("POST", "/containers/{id}/rename", "?name=brief", "", 204, id)
	c.ask("POST", "/containers/{id}/rename", "?name=long", "", 409, id)
	c.ask("POST", "/containers/{id}/update", "", `{"CpuShares":512,"RestartPolicy":{"Name":"no"}}`, 200, id)
	exec := c.ask("POST", "/containers/{id}/exec", "", `{"Cmd":["true"],"AttachStdout":true}`, 201, id).field("Id")
	c.ask("GET", "/exec/{id}/json", "", "", 200, exec)
	c.ask("POST", "/exec/{id}/start", "", `{"Detach":true}`, 200, exec)
	archive := c.ask("GET", "/containers/{id}/archive", "?path=/etc/passwd", "", 200, id)
	r, err := c.try("PUT", "/v"+c.version+"/containers/"+id+"/archive?path=/tmp", strings.NewReader(string(archive.body)), "Content-Type", "application/x-tar")
	if err != nil || r.status != 200 {
		c.t.Errorf("%s: copy in: %v %d %s", c.version, err, r.status, r.body)
	}
	c.ask("HEAD", "/containers/{id}/archive", "?path=/tmp/passwd", "", 200, id)
	c.ask("POST", "/containers/{id}/kill", "", "", 204, id)
	c.ask("POST", "/containers/{id}/wait", "", "", 200, id)
	c.ask("POST", "/containers/{id}/stop", "", "", 304, id)
	c.ask("GET", "/containers/{id}/json", "", "", 200, id)
	c.ask("POST", "/commit", "?container="+id+"&repo=made&tag="+c.version, "", 201)
	c.ask("POST", "/images/{name}/tag", "?repo=again", "", 201, "made:"+c.version)
	c.ask("DELETE", "/images/{name}", "", "", 200, "again:latest")
	c.ask("DELETE", "/images/{name}", "", "", 200, "made:"+c.version)
	c.ask("DELETE", "/containers/{id}", "?v=1", "", 204, id)
	c.ask("POST", "/volumes/create", "", `{"Name":"more","Driver":"local"}`, 201)
	c.ask("DELETE", "/volumes/{name}", "", "", 204, "more")
	network := c.ask("POST", "/networks/create", "", `{"Name":"wire","CheckDuplicate":true,"Driver":"bridge"}`, 201).field("Id")
	c.ask("POST", "/networks/{id}/connect", "", `{"Container":"long"}`, 200, network)
	c.ask("GET", "/networks/{id}", "", "", 200, network)
	c.ask("POST", "/networks/{id}/disconnect", "", `{"Container":"long"}`, 200, network)
	c.ask("DELETE", "/networks/{id}", "", "", 204, network)
	for _, kind := range []string{"containers", "networks", "volumes", "images"} {
		c.ask("POST", "/"+kind+"/prune", "?filters="+url.QueryEscape(`{"label":{"nobody-has-this":true}}`), "", 200)
	}
	if c.since(31) {
		c.ask("POST", "/build/prune", "", "", 200)
	}
}

func (c *checked) since(minor int) bool {
	n, _ := strconv.Atoi(strings.TrimPrefix(c.version, "1."))
	return n >= minor
}

// refusals asks for what cannot be had.
func (c *checked) refusals(id string) {
	c.t.Helper()
	for _, call := range []struct{ method, path string }{
		{"GET", "/containers/{id}/json"}, {"GET", "/containers/{id}/top"}, {"GET", "/containers/{id}/changes"},
		{"GET", "/containers/{id}/export"}, {"GET", "/containers/{id}/stats"}, {"POST", "/containers/{id}/start"},
		{"POST", "/containers/{id}/stop"}, {"POST", "/containers/{id}/restart"}, {"POST", "/containers/{id}/kill"},
		{"POST", "/containers/{id}/pause"}, {"POST", "/containers/{id}/unpause"}, {"POST", "/containers/{id}/wait"},
		{"DELETE", "/containers/{id}"}, {"POST", "/containers/{id}/attach"}, {"GET", "/containers/{id}/attach/ws"},
		{"GET", "/images/{name}/json"}, {"GET", "/images/{name}/history"}, {"DELETE", "/images/{name}"},
		{"GET", "/exec/{id}/json"}, {"GET", "/volumes/{name}"}, {"DELETE", "/volumes/{name}"},
		{"GET", "/networks/{id}"}, {"DELETE", "/networks/{id}"}, {"GET", "/plugins/{name}/json"},
	} {
		c.ask(call.method, call.path, "", "", 404, "no-such-thing")
	}
	c.ask("GET", "/containers/{id}/logs", "?stdout=1", "", 404, "no-such-thing")
	c.ask("GET", "/containers/{id}/archive", "?path=/", "", 404, "no-such-thing")
	c.ask("GET", "/containers/{id}/archive", "?path=/no/such", "", 404, id)
	c.ask("GET", "/containers/{id}/archive", "", "", 400, id)
	c.ask("POST", "/containers/{id}/rename", "?name=x", "", 404, "no-such-thing")
	c.ask("POST", "/containers/{id}/update", "", `{}`, 404, "no-such-thing")
	c.ask("POST", "/containers/{id}/exec", "", `{"Cmd":["true"]}`, 404, "no-such-thing")
	c.ask("DELETE", "/containers/{id}", "", "", 409, id)
	c.ask("POST", "/containers/create", "", `{"Image":"no-such-thing"}`, 404)
	c.ask("POST", "/containers/create", "?name=long", `{"Image":"busybox"}`, 409)
	c.ask("POST", "/containers/create", "", `{`, 400)
	c.ask("POST", "/containers/create", "?name=/", `{"Image":"busybox"}`, 400)
	c.ask("DELETE", "/volumes/{name}", "", "", 409, "data")
	c.ask("DELETE", "/images/{name}", "", "", 409, "busybox")
	c.ask("DELETE", "/networks/{id}", "", "", 403, "bridge")
	c.ask("POST", "/networks/{id}/connect", "", `{"Container":"no-such-thing"}`, 404, "net")
	for _, path := range []string{"/swarm", "/nodes", "/services", "/tasks", "/secrets"} {
		c.ask("GET", path, "", "", http.StatusServiceUnavailable)
	}
	c.ask("GET", "/containers/json", "?filters="+url.QueryEscape(`{"no-such":["x"]}`), "", 400)
	c.ask("GET", "/containers/{id}/logs", "", "", 400, id)
}
