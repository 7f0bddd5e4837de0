package api

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
)

// Filters are the "filters" of a list, prune or events request: for each name the set of values given.
// A nil Filters matches everything.
type Filters map[string]map[string]bool

// ParseFilters reads the query parameter "filters": a map of name to value to true, or, as clients before
// API 1.22 wrote it, of name to a list of values. An empty string is no filter. Errors are
// errdefs.ErrInvalidArgument.
func ParseFilters(raw string) (Filters, error) {
	f := Filters{}
	if raw == "" {
		return f, nil
	}
	if json.Unmarshal([]byte(raw), &f) == nil {
		return f, nil
	}
	var lists map[string][]string
	if err := json.Unmarshal([]byte(raw), &lists); err != nil {
		return nil, errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("invalid filter %q", raw))
	}
	f = Filters{}
	for name, values := range lists {
		for _, v := range values {
			f.Add(name, v)
		}
	}
	return f, nil
}

// Encode is the inverse of ParseFilters; no filters encode as "".
func (f Filters) Encode() string {
	if len(f) == 0 {
		return ""
	}
	raw, _ := json.Marshal(f)
	return string(raw)
}

// Add puts value into the set of name.
func (f Filters) Add(name, value string) {
	if f[name] == nil {
		f[name] = map[string]bool{}
	}
	f[name][value] = true
}

// Get returns the values of name, sorted.
func (f Filters) Get(name string) []string { return slices.Sorted(maps.Keys(f[name])) }

// Has tells whether name was given at all.
func (f Filters) Has(name string) bool { return len(f[name]) > 0 }

// Exact tells whether value is one of the values of name, or name was not given.
func (f Filters) Exact(name, value string) bool {
	return !f.Has(name) || f[name][value]
}

// Matcher gives what Exact tells of a value, but that a value of name may also be a regular expression found in it. It is
// asked once for a whole list, because large expressions take long to read.
func (f Filters) Matcher(name string) func(value string) bool {
	var patterns []*regexp.Regexp
	for pattern := range f[name] {
		if re, err := regexp.Compile(pattern); err == nil {
			patterns = append(patterns, re)
		}
	}
	return func(value string) bool {
		return f.Exact(name, value) || slices.ContainsFunc(patterns, func(re *regexp.Regexp) bool { return re.MatchString(value) })
	}
}

// Labels tells whether labels satisfy every "key" and "key=value" of the filter called name. With name
// "label!" the caller negates one by one: see NotLabels.
func (f Filters) Labels(name string, labels map[string]string) bool {
	for want := range f[name] {
		if !hasLabel(want, labels) {
			return false
		}
	}
	return true
}

// NotLabels tells whether none of the "key" and "key=value" of the filter called name hold.
func (f Filters) NotLabels(name string, labels map[string]string) bool {
	for unwanted := range f[name] {
		if hasLabel(unwanted, labels) {
			return false
		}
	}
	return true
}

func hasLabel(want string, labels map[string]string) bool {
	key, value, withValue := strings.Cut(want, "=")
	got, ok := labels[key]
	return ok && (!withValue || got == value)
}

// Bool reads a filter that is a yes or no ("1", "true", "0", "false"); absent gives def. Anything else, or
// both at once, is errdefs.ErrInvalidArgument.
func (f Filters) Bool(name string, def bool) (bool, error) {
	if !f.Has(name) {
		return def, nil
	}
	yes := f[name]["1"] || f[name]["true"]
	no := f[name]["0"] || f[name]["false"]
	if yes == no {
		return false, errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("invalid filter '%s=%v'", name, f.Get(name)))
	}
	return yes, nil
}

// Check fails with errdefs.ErrInvalidArgument when a filter's name is not among accepted.
func (f Filters) Check(accepted ...string) error {
	for name := range f {
		if !slices.Contains(accepted, name) {
			return errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("invalid filter '%s'", name))
		}
	}
	return nil
}
