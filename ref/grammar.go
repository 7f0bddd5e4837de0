package ref

import "strings"

// IsHexID tells whether s is 64 lower-case hexadecimal digits: an image ID without "sha256:", never a name.
func IsHexID(s string) bool { return len(s) == 64 && all(s, isLowerHex) }

// IsIDPrefix tells whether s can be the beginning of an image ID, with or without "sha256:".
func IsIDPrefix(s string) bool {
	s = strings.TrimPrefix(s, "sha256:")
	return s != "" && len(s) <= 64 && all(s, isLowerHex)
}

// ValidTag tells whether s is a tag: a word character, then up to 127 of these, dots and dashes.
func ValidTag(s string) bool {
	if s == "" || len(s) > maxTag || s[0] == '.' || s[0] == '-' {
		return false
	}
	return all(s, func(c byte) bool { return isWord(c) || c == '.' || c == '-' })
}

// validHost accepts a DNS name, an IPv4 address or an IPv6 address in brackets, and a port.
func validHost(s string) bool {
	if strings.HasPrefix(s, "[") {
		address, rest, closed := strings.Cut(s[1:], "]")
		return closed && address != "" && all(address, func(c byte) bool { return isHex(c) || c == ':' }) && validPort(rest)
	}
	name, port := s, ""
	if i := strings.IndexByte(s, ':'); i >= 0 {
		name, port = s[:i], s[i:]
	}
	if !validPort(port) {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		if !all(label, func(c byte) bool { return isAlnum(c) || c == '-' }) {
			return false
		}
	}
	return true
}

func validPort(s string) bool {
	return s == "" || s[0] == ':' && len(s) > 1 && all(s[1:], isDigit)
}

// validPath accepts components of lower-case letters and digits, parted inside by one dot, one or two
// underscores, or any number of dashes.
func validPath(s string) bool {
	for component := range strings.SplitSeq(s, "/") {
		if !validComponent(component) {
			return false
		}
	}
	return true
}

func validComponent(s string) bool {
	if s == "" || !isLowerAlnum(s[0]) || !isLowerAlnum(s[len(s)-1]) {
		return false
	}
	for i := 0; i < len(s); {
		if isLowerAlnum(s[i]) {
			i++
			continue
		}
		from := i
		for s[i] == s[from] {
			i++
		}
		if !isLowerAlnum(s[i]) || !validSeparator(s[from], i-from) {
			return false
		}
	}
	return true
}

func validSeparator(c byte, times int) bool {
	switch c {
	case '.':
		return times == 1
	case '_':
		return times <= 2
	default:
		return c == '-'
	}
}

// looksLikeDigest is the form of a digest inside a name; whether its algorithm is known is asked later.
func looksLikeDigest(s string) bool {
	algorithm, sum, ok := strings.Cut(s, ":")
	if !ok || len(sum) < 32 || !all(sum, isHex) {
		return false
	}
	for part := range strings.SplitSeq(strings.Map(separatorAsDash, algorithm), "-") {
		if part == "" || !isLetter(part[0]) || !all(part, isAlnum) {
			return false
		}
	}
	return true
}

func separatorAsDash(r rune) rune {
	if strings.ContainsRune("-_+.", r) {
		return '-'
	}
	return r
}

func all(s string, is func(byte) bool) bool {
	for i := range len(s) {
		if !is(s[i]) {
			return false
		}
	}
	return true
}

func isDigit(c byte) bool      { return c >= '0' && c <= '9' }
func isLower(c byte) bool      { return c >= 'a' && c <= 'z' }
func isLetter(c byte) bool     { return isLower(c) || c >= 'A' && c <= 'Z' }
func isAlnum(c byte) bool      { return isLetter(c) || isDigit(c) }
func isLowerAlnum(c byte) bool { return isLower(c) || isDigit(c) }
func isWord(c byte) bool       { return isAlnum(c) || c == '_' }
func isLowerHex(c byte) bool   { return isDigit(c) || c >= 'a' && c <= 'f' }
func isHex(c byte) bool        { return isLowerHex(c) || c >= 'A' && c <= 'F' }
