package access

import (
	"slices"
	"strings"
)

// scope is something and what may be done to it, in a token and, written "type:name:action,action", in requests.
type scope struct {
	Type    string   `json:"type"`
	Name    string   `json:"name"`
	Actions []string `json:"actions"`
}

// Bounds of what one token may be asked for: clients ask for two or three scopes, and no repository has a longer name.
const (
	maxScopes = 64
	maxName   = 255
)

// The scopes that concern the registry as a whole. The first is the token specification's.
var (
	catalog     = scope{"registry", "catalog", []string{"*"}}
	maintenance = scope{"registry", "maintenance", []string{"*"}}
)

// scopeOf is the scope to which a request belongs.
func scopeOf(repository string, actions []string) scope {
	switch {
	case repository != "":
		return scope{"repository", repository, actions}
	case slices.Contains(actions, Admin):
		return maintenance
	}
	return catalog
}

func (s scope) String() string { return s.Type + ":" + s.Name + ":" + strings.Join(s.Actions, ",") }

// parseScopes reads scopes, of which a word may hold several with spaces between. What is no scope is left out, as
// the specification wants: the token then allows less than was asked for.
func parseScopes(words []string) []scope {
	var out []scope
	for _, word := range words {
		for _, text := range strings.Fields(word) {
			kind, rest, ok := strings.Cut(text, ":")
			name, actions, ok2 := cutLast(rest, ":")
			kind, _, _ = strings.Cut(kind, "(") // "repository(plugin)"
			if !ok || !ok2 || name == "" || len(name) > maxName || actions == "" {
				continue
			}
			if out = append(out, scope{kind, name, strings.Split(actions, ",")}); len(out) == maxScopes {
				return out
			}
		}
	}
	return out
}

// grant cuts what is asked for down to what user may do.
func (a *Access) grant(user string, asked []scope) []scope {
	out := []scope{}
	for _, s := range asked {
		var actions []string
		switch {
		case s.Type == "repository":
			granted := a.granted(user, s.Name)
			for _, action := range everything {
				if slices.Contains(granted, action) && (slices.Contains(s.Actions, action) || slices.Contains(s.Actions, "*")) {
					actions = append(actions, action)
				}
			}
		case s.Type == catalog.Type && s.Name == catalog.Name && slices.Contains(s.Actions, "*") && a.may(user, "", []string{Catalog}),
			s.Type == maintenance.Type && s.Name == maintenance.Name && slices.Contains(s.Actions, "*") && a.may(user, "", []string{Admin}):
			actions = []string{"*"}
		}
		if len(actions) > 0 {
			out = append(out, scope{s.Type, s.Name, actions})
		}
	}
	return out
}
