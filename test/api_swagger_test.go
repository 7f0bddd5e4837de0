package test

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.yaml.in/yaml/v3"
)

// document is one version of the API as its swagger file describes it.
type document struct {
	Paths       map[string]map[string]any
	Definitions map[string]any
	Responses   map[string]any
}

// documents is the folder of the API's module, where the description of every version lies.
var documents = sync.OnceValues(func() (string, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/moby/moby/api").Output()
	return filepath.Join(strings.TrimSpace(string(out)), "docs"), err
})

func readDocument(t *testing.T, version string) *document {
	t.Helper()
	dir, err := documents()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(filepath.Join(dir, "v"+version+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var d document
	if err := yaml.Unmarshal(raw, &d); err != nil {
		t.Fatalf("%s: %v", version, err)
	}
	return &d
}

// operation finds the description of a call by method and path template.
func (d *document) operation(method, path string) map[string]any {
	operation, _ := d.Paths[path][strings.ToLower(method)].(map[string]any)
	return operation
}

// schema is what the answer to a call with this status looks like; nil when it is not said.
func (d *document) schema(method, path string, status int) map[string]any {
	responses, _ := d.operation(method, path)["responses"].(map[string]any)
	for code, r := range responses {
		if code == fmt.Sprint(status) {
			response, _ := d.resolve(r).(map[string]any)
			schema, _ := response["schema"].(map[string]any)
			return schema
		}
	}
	return nil
}

// resolve follows a reference within the document.
func (d *document) resolve(node any) any {
	for {
		object, ok := node.(map[string]any)
		if !ok {
			return node
		}
		name, ok := object["$ref"].(string)
		if !ok {
			return node
		}
		kind, name, _ := strings.Cut(strings.TrimPrefix(name, "#/"), "/")
		if kind == "responses" {
			node = d.Responses[name]
		} else {
			node = d.Definitions[name]
		}
	}
}

// merged is a schema with everything that allOf brings in.
func (d *document) merged(node any) map[string]any {
	schema, ok := d.resolve(node).(map[string]any)
	if !ok {
		return nil
	}
	parts, _ := schema["allOf"].([]any)
	if len(parts) == 0 {
		return schema
	}
	out := maps.Clone(schema)
	properties, required := map[string]any{}, []any{}
	for _, part := range append(slices.Clone(parts), map[string]any{"properties": schema["properties"], "required": schema["required"]}) {
		merged := d.merged(part)
		p, _ := merged["properties"].(map[string]any)
		maps.Copy(properties, p)
		r, _ := merged["required"].([]any)
		required = append(required, r...)
		for key, value := range merged {
			if out[key] == nil {
				out[key] = value
			}
		}
	}
	out["properties"], out["required"] = properties, required
	return out
}

// compare tells where a value is not what its schema says: fields nobody described, fields that must be there, values of
// another kind. Where a place comes up in every element of a list it is told once.
func (d *document) compare(at string, value, node any, tell func(string)) {
	schema := d.merged(node)
	if schema == nil {
		return
	}
	kind, _ := schema["type"].(string)
	properties, _ := schema["properties"].(map[string]any)
	if kind == "" && properties != nil {
		kind = "object"
	}
	if value == nil {
		// What is a list, a map or a pointer in Go may be null.
		if kind != "array" && kind != "object" && schema["x-nullable"] != true && kind != "" {
			tell(at + ": null, described as " + kind)
		}
		return
	}
	if got := kindOf(value); kind != "" && got != kind && !(kind == "number" && got == "integer") {
		tell(fmt.Sprintf("%s: %s, described as %s", at, got, kind))
		return
	}
	switch value := value.(type) {
	case []any:
		for _, v := range value {
			d.compare(at+"[]", v, schema["items"], tell)
		}
	case map[string]any:
		d.compareObject(at, value, schema, tell)
	case string:
		if allowed, _ := schema["enum"].([]any); len(allowed) > 0 && !slices.Contains(allowed, any(value)) {
			tell(fmt.Sprintf("%s: %q is none of the values described", at, value))
		}
	}
}

func (d *document) compareObject(at string, value, schema map[string]any, tell func(string)) {
	properties, _ := schema["properties"].(map[string]any)
	for _, name := range slices.Sorted(maps.Keys(value)) {
		switch described := properties[name]; {
		case described != nil:
			d.compare(at+"."+name, value[name], described, tell)
		case schema["additionalProperties"] != nil:
			d.compare(at+".*", value[name], schema["additionalProperties"], tell)
		case len(properties) > 0:
			tell(at + "." + name + ": not described")
		}
	}
	required, _ := schema["required"].([]any)
	for _, name := range required {
		if _, ok := value[fmt.Sprint(name)]; !ok {
			tell(fmt.Sprintf("%s.%v: missing", at, name))
		}
	}
}

// kindOf is a value's type in the words of swagger.
func kindOf(value any) string {
	switch value := value.(type) {
	case nil:
		return "null"
	case bool:
		return "boolean"
	case string:
		return "string"
	case float64:
		if value == float64(int64(value)) {
			return "integer"
		}
		return "number"
	case []any:
		return "array"
	}
	return "object"
}

// told gathers differences and holds them against a table of those that are known, each with its reason.
type told struct {
	t     testing.TB
	known []excuse
	seen  map[string]bool
}

// excuse is a line "PATTERN  # REASON" of a table; the pattern is a regular expression over a whole difference. One that
// begins with "? " depends on the host and need not come up.
type excuse struct {
	pattern *regexp.Regexp
	used    bool
}

func readExcuses(t testing.TB, file string) *told {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	d := &told{t: t, seen: map[string]bool{}}
	for line := range strings.Lines(string(raw)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		pattern, reason, ok := strings.Cut(line, "  # ")
		if !ok || reason == "" {
			t.Fatalf("%s: no reason is given: %s", file, line)
		}
		pattern, maybe := strings.CutPrefix(strings.TrimSpace(pattern), "? ")
		d.known = append(d.known, excuse{pattern: regexp.MustCompile("^(?:" + pattern + ")$"), used: maybe})
	}
	return d
}

// add notes a difference; one that the table does not know fails the test, once.
func (d *told) add(difference string) {
	for i := range d.known {
		if d.known[i].pattern.MatchString(difference) {
			d.known[i].used = true
			return
		}
	}
	if !d.seen[difference] {
		d.seen[difference] = true
		d.t.Error(difference)
	}
}

// done fails for lines of the table that excuse nothing any more.
func (d *told) done() {
	for _, e := range d.known {
		if !e.used {
			d.t.Errorf("nothing differs any more as the table says: %s", e.pattern)
		}
	}
}
