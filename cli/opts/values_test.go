package opts

import (
	"strings"
	"testing"

	"github.com/cove-containers/cove/api"
	"github.com/spf13/pflag"
)

func TestEnvironmentFile(t *testing.T) {
	lookup := func(name string) (string, bool) { return "from caller", name == "KNOWN" }
	const file = "\xef\xbb\xbfP=2\n# c\n\nQ=\"a b\" \n  S=1\nR\nKNOWN\nE=\n"
	got, err := parseLines(strings.NewReader(file), lookup)
	want := []string{"P=2", `Q="a b" `, "S=1", "KNOWN=from caller", "E="}
	if err != nil || strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("got %q, %v\nwant %q", got, err, want)
	}
	long := "KEY=" + strings.Repeat("x", 100_000)
	if got, err := parseLines(strings.NewReader(long), nil); err != nil || len(got) != 1 || got[0] != long {
		t.Errorf("a long line: %d lines, %v", len(got), err)
	}
	for bad, message := range map[string]string{
		"export T=1": "variable 'export T' contains whitespaces",
		"A B=1":      "variable 'A B' contains whitespaces",
		"=x":         "no variable name on line '=x'",
		"A=\xff":     "invalid utf8 bytes at line 1: [65 61 255]",
	} {
		if _, err := parseLines(strings.NewReader(bad), nil); err == nil || err.Error() != message {
			t.Errorf("%q: got %v, want %s", bad, err, message)
		}
	}
}

func TestFlagValues(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"-e =x", `invalid argument "=x" for "-e, --env" flag: invalid environment variable: =x`},
		{"-m foo", `invalid argument "foo" for "-m, --memory" flag: invalid size: 'foo'`},
		{"--cpus x", `invalid argument "x" for "--cpus" flag: failed to parse x as a rational number`},
		{"--cpus 1e9999999", `invalid argument "1e9999999" for "--cpus" flag: failed to parse 1e9999999 as a rational number`},
		{"--cpus 1.0000000001", `invalid argument "1.0000000001" for "--cpus" flag: value is too precise`},
		{"--health-interval x", `invalid argument "x" for "--health-interval" flag: time: invalid duration "x"`},
		{"-a foo", `invalid argument "foo" for "-a, --attach" flag: valid streams are STDIN, STDOUT and STDERR`},
		{"--add-host foo", `invalid argument "foo" for "--add-host" flag: bad format for add-host: "foo"`},
		{"--add-host a:b", `invalid argument "a:b" for "--add-host" flag: invalid IP address in add-host: "b"`},
		{"--dns foo", `invalid argument "foo" for "--dns" flag: IP address is not correctly formatted: foo`},
		{"--dns-search -x", `invalid argument "-x" for "--dns-search" flag: -x is not a valid domain`},
		{"--sysctl foo", `invalid argument "foo" for "--sysctl" flag: sysctl 'foo' is not allowed`},
		{"--sysctl kernel.shmmax=1 --sysctl net.core.x=1", ""},
		{"--device-cgroup-rule x", `invalid argument "x" for "--device-cgroup-rule" flag: invalid device cgroup format 'x'`},
		{"--blkio-weight-device /dev/a:5", `invalid argument "/dev/a:5" for "--blkio-weight-device" flag: invalid weight for device: /dev/a:5`},
		{"--gpus some", `invalid argument "some" for "--gpus" flag: invalid count (some): value must be either "all" or an integer: invalid syntax`},
		{"--gpus what=1", `invalid argument "what=1" for "--gpus" flag: unexpected key 'what' in 'what=1'`},
		{"--gpus count=1,count=2", `invalid argument "count=1,count=2" for "--gpus" flag: gpu request key 'count' can be specified only once`},
	} {
		_, err := create(append(strings.Fields(c.args), "image"))
		if got := message(err); got != c.want {
			t.Errorf("%s\n got %s\nwant %s", c.args, got, c.want)
		}
	}
}

func message(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestFilters(t *testing.T) {
	fs := pflag.NewFlagSet("", pflag.ContinueOnError)
	var f api.Filters
	Filters(fs, &f, "f", "")
	if err := fs.Parse([]string{"-f", "Name = x ", "-f", "name=y", "-f", ""}); err != nil || !f["name"]["x"] || !f["name"]["y"] {
		t.Errorf("got %v, %v", f, err)
	}
	if err := fs.Parse([]string{"-f", "name"}); err == nil || !strings.Contains(err.Error(), "bad format of filter (expected name=value)") {
		t.Errorf("got %v", err)
	}
}

func FuzzEnvironmentFile(f *testing.F) {
	for _, s := range []string{"A=1\nB", "# x\n =", "\xef\xbb\xbfX=\r\n", "A\x00=\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		lines, _ := parseLines(strings.NewReader(s), func(string) (string, bool) { return "v", true })
		for _, line := range lines {
			name, _, ok := strings.Cut(line, "=")
			if !ok || name == "" || strings.ContainsAny(name, " \t\n") {
				t.Errorf("%q gives %q", s, line)
			}
		}
	})
}

func FuzzMount(f *testing.F) {
	for _, s := range []string{"type=bind,src=/a,dst=/b,ro", `"type=tmpfs","dst=/a,b",tmpfs-size=1m`, "dst=/v,volume-opt=a=b", ",", `"`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if m, err := ParseMount(s); err == nil && (m.Target == "" || m.Type == "") {
			t.Errorf("%q gives %+v", s, m)
		}
	})
}

func FuzzPorts(f *testing.F) {
	for _, s := range []string{"80", "127.0.0.1:1-2:3-4/udp", "[::1]::80", "published=1,target=2", ":::", "1-65535:1-65535"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		exposed, bound, err := ParsePorts([]string{s})
		if err != nil {
			return
		}
		for port, bindings := range bound {
			if _, ok := exposed[port]; !ok || len(bindings) == 0 || !port.IsValid() {
				t.Errorf("%q gives %v %v", s, exposed, bound)
			}
		}
	})
}

func FuzzVolume(f *testing.F) {
	for _, s := range []string{"/a:/b:ro", `c:\x:d:\y`, "v:/x", "::", "a"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		source, target, _, err := splitVolume(s)
		if err == nil && target == "" && source == "" {
			t.Errorf("%q names nothing", s)
		}
		_, _, _ = splitBinds([]string{s})
		_, _ = parseNetwork(s)
		_, _ = parseDevice(s)
	})
}
