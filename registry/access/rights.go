package access

import (
	"bytes"
	"fmt"
	"log/slog"
	"path"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
)

// What can be done to a repository, and to the registry.
const (
	Pull    = "pull"
	Push    = "push"
	Delete  = "delete"
	Catalog = "catalog"
	Admin   = "admin"
)

var everything = []string{Pull, Push, Delete}

// nobody is how a file of rights calls those without an account.
const nobody = "anonymous"

// rule is one line of a file of rights.
type rule struct {
	users    []string
	patterns []string
	actions  []string
}

// ParseRights reads lines of three words, each a list with commas:
//
//	# users         repositories     actions
//	alice,bob       team/**          pull,push
//	ci              team/**,base     *
//	*               {user}/**        *
//	*               **               pull
//	anonymous       public/*         pull
//
// A user is an account, "*" every account, "anonymous" those without. In a repository's name "*" stands for any
// characters within one part, "**" for any number of whole parts, "{user}" for the account's name. Actions are pull,
// push, delete, "*" for all. A user may do what any line allows; a repository no line speaks of is closed.
func ParseRights(text []byte) ([]rule, error) {
	var rules []rule
	for n, line := range bytes.Split(text, []byte("\n")) {
		words := strings.Fields(string(line))
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		if len(words) != 3 {
			return nil, badRight(n, "want three words: users, repositories, actions")
		}
		r := rule{strings.Split(words[0], ","), strings.Split(words[1], ","), strings.Split(words[2], ",")}
		if slices.Contains(r.users, "") {
			return nil, badRight(n, "a user without a name")
		}
		for _, p := range r.patterns {
			if err := CheckPattern(p); err != nil {
				return nil, badRight(n, err.Error())
			}
		}
		if slices.Equal(r.actions, []string{"*"}) {
			r.actions = everything
		}
		for _, action := range r.actions {
			if !slices.Contains(everything, action) {
				return nil, badRight(n, fmt.Sprintf("unknown action %q: want pull, push, delete or *", action))
			}
		}
		rules = append(rules, r)
	}
	return rules, nil
}

func badRight(line int, what string) error {
	return errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("line %d: %s", line+1, what))
}

// CheckPattern accepts patterns of repository names, described at ParseRights.
func CheckPattern(pattern string) error {
	for _, part := range strings.Split(pattern, "/") {
		if part == "" {
			return fmt.Errorf("repository pattern %q has an empty part", pattern)
		}
		if strings.Contains(part, "**") && part != "**" {
			return fmt.Errorf("repository pattern %q: ** must stand alone between slashes", pattern)
		}
		if _, err := path.Match(strings.ReplaceAll(part, "{user}", "u"), ""); err != nil {
			return fmt.Errorf("repository pattern %q: %w", pattern, err)
		}
	}
	return nil
}

// rights is a file of rights.
type rights struct{ file *watched[[]rule] }

func openRights(path string, log *slog.Logger) (*rights, error) {
	file, err := watch(path, ParseRights, log)
	if err != nil {
		return nil, err
	}
	return &rights{file}, nil
}

// of lists what user may do to a repository; to the registry itself, "", what he may do to every repository.
func (r *rights) of(user, repository string) []string {
	var out []string
	for _, rule := range r.file.get() {
		if rule.concerns(user) && rule.covers(user, repository) {
			out = append(out, rule.actions...)
		}
	}
	return out
}

// anonymous tells whether any rule is for those without an account.
func (r *rights) anonymous() bool {
	return slices.ContainsFunc(r.file.get(), func(rule rule) bool { return slices.Contains(rule.users, nobody) })
}

func (r rule) concerns(user string) bool {
	if slices.Contains(r.users, nobody) {
		return true
	}
	return user != "" && (slices.Contains(r.users, user) || slices.Contains(r.users, "*"))
}

func (r rule) covers(user, repository string) bool {
	if repository == "" {
		return slices.Contains(r.patterns, "**")
	}
	return slices.ContainsFunc(r.patterns, func(p string) bool { return Matches(p, repository, user) })
}

// Matches tells whether a pattern covers a repository, for a user; "" is nobody in particular.
func Matches(pattern, repository, user string) bool {
	return matches(strings.Split(pattern, "/"), strings.Split(repository, "/"), user)
}

// matches compares part by part. A name has at most 255 characters, so trying every length for ** stays small; only a
// file with many of them in one pattern could make it large, and who writes that file may stop the registry anyway.
func matches(pattern, name []string, user string) bool {
	if len(pattern) == 0 {
		return len(name) == 0
	}
	if pattern[0] == "**" {
		for i := 0; i <= len(name); i++ {
			if matches(pattern[1:], name[i:], user) {
				return true
			}
		}
		return false
	}
	if len(name) == 0 || !matchPart(pattern[0], name[0], user) {
		return false
	}
	return matches(pattern[1:], name[1:], user)
}

// matchPart puts the user's name in literally: whatever it is made of, it stands for itself only.
func matchPart(pattern, part, user string) bool {
	if strings.Contains(pattern, "{user}") {
		if user == "" {
			return false
		}
		pattern = strings.ReplaceAll(pattern, "{user}", literal.Replace(user))
	}
	ok, err := path.Match(pattern, part)
	return ok && err == nil
}

var literal = strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`)
