package terminal

import (
	"fmt"
	"strings"
)

// Keys reads the names of keys as --detach-keys takes them: letters, and "ctrl-" with a letter or one of @ [ \ ] ^ _.
func Keys(names string) ([]byte, error) {
	var keys []byte
	for _, name := range strings.Split(names, ",") {
		key, ok := key(name)
		if !ok {
			return nil, fmt.Errorf("Unknown character: '%s'", strings.TrimPrefix(name, "ctrl-")) //nolint:staticcheck // docker's words
		}
		keys = append(keys, key)
	}
	return keys, nil
}

func key(name string) (byte, bool) {
	if len(name) == 1 {
		return name[0], true
	}
	if name == "DEL" {
		return 127, true
	}
	c, ok := strings.CutPrefix(name, "ctrl-")
	if !ok || len(c) != 1 {
		return 0, false
	}
	switch b := strings.ToLower(c)[0]; {
	case b >= 'a' && b <= 'z':
		return b - 'a' + 1, true
	case b == '@':
		return 0, true
	case b >= '[' && b <= '_':
		return b - '[' + 27, true
	}
	return 0, false
}
