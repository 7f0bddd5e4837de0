package logs

import (
	"fmt"
	"strings"
)

// Subject names the container a log belongs to, for the options labels, env and tag.
type Subject struct {
	ID, Name, ImageID, ImageName, DaemonName string
	Labels                                   map[string]string
	Env                                      []string
}

// Details computes Config.Attrs from the options labels, labels-regex, env, env-regex and tag. match is
// regexp.MatchString, given by the caller so that the supervisor needs no regular expressions.
func Details(options map[string]string, s Subject, match func(pattern, text string) (bool, error)) (map[string]string, error) {
	attrs := map[string]string{}
	for _, name := range listed(options["labels"]) {
		if value, ok := s.Labels[name]; ok {
			attrs[name] = value
		}
	}
	env := map[string]string{}
	for _, pair := range s.Env {
		if name, value, ok := strings.Cut(pair, "="); ok {
			env[name] = value
		}
	}
	for _, name := range listed(options["env"]) {
		if value, ok := env[name]; ok {
			attrs[name] = value
		}
	}
	if err := addMatching(attrs, s.Labels, options["labels-regex"], match); err != nil {
		return nil, err
	}
	if err := addMatching(attrs, env, options["env-regex"], match); err != nil {
		return nil, err
	}
	if template := options["tag"]; template != "" {
		tag, err := expandTag(template, s)
		if err != nil {
			return nil, err
		}
		attrs["tag"] = tag
	}
	if len(attrs) == 0 {
		return nil, nil
	}
	return attrs, nil
}

func listed(names string) []string {
	if names == "" {
		return nil
	}
	list := strings.Split(names, ",")
	for i := range list {
		list[i] = strings.TrimSpace(list[i])
	}
	return list
}

func addMatching(attrs, from map[string]string, pattern string, match func(pattern, text string) (bool, error)) error {
	if pattern == "" {
		return nil
	}
	for name, value := range from {
		ok, err := match(pattern, name)
		if err != nil {
			return invalid("%s", err)
		}
		if ok {
			attrs[name] = value
		}
	}
	return nil
}

// expandTag fills in the fields docker documents for the option tag; it knows no other template words.
func expandTag(template string, s Subject) (string, error) {
	var out strings.Builder
	rest := template
	for {
		before, after, found := strings.Cut(rest, "{{")
		out.WriteString(before)
		if !found {
			return out.String(), nil
		}
		field, after, found := strings.Cut(after, "}}")
		if !found {
			return "", invalid("invalid log tag template %q: unclosed action", template)
		}
		value, err := tagField(strings.TrimSpace(field), s)
		if err != nil {
			return "", invalid("invalid log tag template %q: %s", template, err)
		}
		out.WriteString(value)
		rest = after
	}
}

func tagField(field string, s Subject) (string, error) {
	switch field {
	case ".ID":
		return short(s.ID), nil
	case ".FullID":
		return s.ID, nil
	case ".Name":
		return strings.TrimPrefix(s.Name, "/"), nil
	case ".ImageID":
		return short(strings.TrimPrefix(s.ImageID, "sha256:")), nil
	case ".ImageFullID":
		return s.ImageID, nil
	case ".ImageName":
		return s.ImageName, nil
	case ".DaemonName":
		return s.DaemonName, nil
	}
	return "", fmt.Errorf("unknown field %q", field)
}

func short(id string) string { return id[:min(len(id), 12)] }
