package remote

import "strings"

// parseChallenges reads WWW-Authenticate headers: the parameters of the first Bearer challenge, nil when there is none,
// and whether Basic is offered. Several challenges may share a header.
func parseChallenges(headers []string) (bearer map[string]string, basic bool) {
	for _, h := range headers {
		for h != "" {
			var scheme string
			var parameters map[string]string
			scheme, parameters, h = nextChallenge(h)
			switch strings.ToLower(scheme) {
			case "bearer":
				if bearer == nil {
					bearer = parameters
				}
			case "basic":
				basic = true
			}
		}
	}
	return bearer, basic
}

// nextChallenge takes one challenge off s: a scheme and its parameters, up to the scheme of the next one.
func nextChallenge(s string) (scheme string, parameters map[string]string, rest string) {
	s = strings.TrimLeft(s, " \t,")
	scheme, s = takeToken(s)
	parameters = map[string]string{}
	if scheme == "" {
		return "", parameters, ""
	}
	for {
		s = strings.TrimLeft(s, " \t,")
		key, after := takeToken(s)
		after = strings.TrimLeft(after, " \t")
		if key == "" || !strings.HasPrefix(after, "=") {
			return scheme, parameters, s
		}
		var value string
		value, s = takeValue(strings.TrimLeft(after[1:], " \t"))
		if key = strings.ToLower(key); parameters[key] == "" {
			parameters[key] = value
		}
	}
}

func takeToken(s string) (token, rest string) {
	i := 0
	for i < len(s) && (s[i] >= '0' && s[i] <= '9' || s[i] >= 'A' && s[i] <= 'Z' || s[i] >= 'a' && s[i] <= 'z' || strings.IndexByte("!#$%&'*+-.^_`|~", s[i]) >= 0) {
		i++
	}
	return s[:i], s[i:]
}

// takeValue takes a token or a quoted string, in which a backslash makes the next character plain.
func takeValue(s string) (value, rest string) {
	if !strings.HasPrefix(s, `"`) {
		i := strings.IndexAny(s, ", \t")
		if i < 0 {
			i = len(s)
		}
		return s[:i], s[i:]
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '"':
			return b.String(), s[i+1:]
		case s[i] == '\\' && i+1 < len(s):
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String(), ""
}
