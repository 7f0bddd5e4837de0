package opts

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
)

// splitVolume reads a value of -v: an anonymous volume has no source; bind tells that the source is a path of
// the daemon's host and not the name of a volume.
func splitVolume(spec string) (source, target string, bind bool, err error) {
	if spec == "" {
		return "", "", false, errors.New("invalid empty volume spec")
	}
	if len(spec) <= 2 {
		return "", spec, false, nil
	}
	parts := splitColons(spec)
	for _, p := range parts {
		if p == "" {
			return "", "", false, fmt.Errorf("invalid spec: %s: empty section between colons", spec)
		}
	}
	switch len(parts) {
	case 1:
		return "", parts[0], false, nil
	case 2, 3:
		return parts[0], parts[1], isPath(parts[0]), nil
	}
	return "", "", false, fmt.Errorf("invalid spec: %s: too many colons", spec)
}

// splitColons splits at colons, except one that follows a lone letter: a drive of Windows.
func splitColons(spec string) []string {
	var parts []string
	start := 0
	for i := 0; i < len(spec); i++ {
		if spec[i] == ':' && !(i == start+1 && unicode.IsLetter(rune(spec[start]))) {
			parts = append(parts, spec[start:i])
			start = i + 1
		}
	}
	return append(parts, spec[start:])
}

func isPath(source string) bool {
	if strings.ContainsRune("./~", rune(source[0])) {
		return true
	}
	return strings.HasPrefix(source, `\\`) || len(source) > 1 && source[1] == ':' && unicode.IsLetter(rune(source[0]))
}

// splitBinds parts the values of -v into anonymous volumes and those that go to the host's settings, where
// paths that begin with a dot are made absolute.
func splitBinds(specs []string) (volumes map[string]struct{}, binds []string, err error) {
	volumes = map[string]struct{}{}
	seen := map[string]bool{}
	for _, spec := range specs {
		if seen[spec] {
			continue
		}
		seen[spec] = true
		source, _, bind, err := splitVolume(spec)
		if err != nil {
			return nil, nil, err
		}
		switch {
		case source == "":
			volumes[spec] = struct{}{}
		case bind:
			host, rest, _ := strings.Cut(spec, ":")
			binds = append(binds, fromHere(host)+":"+rest)
		default:
			binds = append(binds, spec)
		}
	}
	return volumes, binds, nil
}
