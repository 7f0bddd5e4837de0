package registry

import "testing"

func TestSplit(t *testing.T) {
	for text, want := range map[string][2]string{
		"localhost:5000":                   {"localhost:5000", ""},
		"localhost":                        {"localhost", ""},
		"https://reg.example/":             {"reg.example", ""},
		"http://127.0.0.1:5000":            {"127.0.0.1:5000", ""},
		"[::1]:5000":                       {"[::1]:5000", ""},
		"docker.io":                        {"docker.io", ""},
		"localhost:5000/a":                 {"localhost:5000", "localhost:5000/a"},
		"localhost:5000/a/b:1":             {"localhost:5000", "localhost:5000/a/b:1"},
		"reg.example/a/b":                  {"reg.example", "reg.example/a/b"},
		"alpine":                           {"docker.io", "docker.io/library/alpine"},
		"team/x":                           {"docker.io", "docker.io/team/x"},
		"reg.example/x@sha256:" + someHash: {"reg.example", "reg.example/x@sha256:" + someHash},
	} {
		got, err := split(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		name := ""
		if got.Path != "" {
			name = got.String()
		}
		if got.Host != want[0] || name != want[1] {
			t.Errorf("%s is %q %q, want %q", text, got.Host, name, want)
		}
	}
	for _, text := range []string{"", "/", "reg.example/UPPER", "reg.example/a..b/../c", "reg.example:port/x", "a b"} {
		if got, err := split(text); err == nil {
			t.Errorf("%q is taken for %+v", text, got)
		}
	}
}

const someHash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
