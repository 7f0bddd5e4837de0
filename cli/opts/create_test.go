package opts

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/spf13/pflag"
)

// recorded is one command line of "docker create" and what docker made of it: a request, given as what differs from
// the request of the first one, or the first line of its error.
type recorded struct {
	Args  []string
	Body  map[string]any
	Error string
}

// TestCreate reads command lines and compares the request with the one docker sends for them.
func TestCreate(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join("testdata", "create.json"))
	if err != nil {
		t.Fatal(err)
	}
	here, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(here)
	t.Setenv("FROMHOST", "host value")
	text := strings.NewReplacer("$HERE", here, "$UP", filepath.Dir(here)).Replace(string(raw))
	var cases []recorded
	if err := json.Unmarshal([]byte(text), &cases); err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		t.Run(strings.Join(c.Args, " "), func(t *testing.T) {
			got, err := create(c.Args)
			if c.Error != "" {
				if err == nil || !strings.HasPrefix(err.Error(), c.Error) {
					t.Fatalf("error\n got %v\nwant %s", err, c.Error)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			compare(t, got, merge(cases[0].Body, c.Body))
		})
	}
}

func create(args []string) (container.CreateRequest, error) {
	fs := pflag.NewFlagSet("create", pflag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.SetInterspersed(false)
	var c Container
	c.AddFlags(fs)
	if err := fs.Parse(args); err != nil {
		return container.CreateRequest{}, err
	}
	s, err := c.Build(fs, fs.Arg(0), fs.Args()[1:])
	return container.CreateRequest{Config: s.Config, HostConfig: s.HostConfig, NetworkingConfig: s.Networking}, err
}

// merge lays the values of over on base, object by object. Networks take the place of the default one.
func merge(base, over map[string]any) map[string]any {
	out := map[string]any{}
	for key, val := range base {
		out[key] = val
	}
	for key, val := range over {
		below, isObject := out[key].(map[string]any)
		object, ok := val.(map[string]any)
		_, hasDefault := object["default"]
		if isObject && ok && (key != "EndpointsConfig" || hasDefault) {
			val = merge(below, object)
		}
		out[key] = val
	}
	return out
}

// compare brings both to the API's own types, in which what docker spells out and what it leaves away is the same.
func compare(t *testing.T, got container.CreateRequest, want map[string]any) {
	t.Helper()
	raw, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var wanted container.CreateRequest
	if err := json.Unmarshal(raw, &wanted); err != nil {
		t.Fatal(err)
	}
	g, w := flat(t, got), flat(t, wanted)
	for key := range w {
		if !reflect.DeepEqual(g[key], w[key]) {
			t.Errorf("%s\n got %v\nwant %v", key, g[key], w[key])
		}
		delete(g, key)
	}
	for key, val := range g {
		t.Errorf("%s\n got %v\nwant nothing", key, val)
	}
}

func flat(t *testing.T, v any) map[string]string {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var tree any
	if err := json.Unmarshal(raw, &tree); err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	var walk func(path string, v any)
	walk = func(path string, v any) {
		if object, ok := v.(map[string]any); ok {
			for key, val := range object {
				walk(path+"."+key, val)
			}
			return
		}
		out[path] = fmt.Sprint(v)
	}
	walk("", tree)
	return out
}
