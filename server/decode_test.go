package server

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/containerd/errdefs"
)

func TestQuery(t *testing.T) {
	q, err := parseQuery("yes=1&on=true&any=banana&no=0&off=False&none=none&empty=&n=-5&bad=x")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"yes": true, "on": true, "any": true, "no": false, "off": false, "none": false, "empty": false, "absent": false} {
		if q.bool(name) != want {
			t.Errorf("%s: %v", name, !want)
		}
	}
	if !q.boolOr("absent", true) || q.boolOr("empty", true) {
		t.Error("only an absent parameter takes the other value")
	}
	if n, err := q.int("n"); err != nil || *n != -5 {
		t.Errorf("n: %v %v", n, err)
	}
	if n, err := q.int("empty"); err != nil || n != nil {
		t.Errorf("empty: %v %v", n, err)
	}
	if _, err := q.int("bad"); !errors.Is(err, errdefs.ErrInvalidArgument) {
		t.Errorf("bad: %v", err)
	}
	if w := ask(t, Parts{}, http.MethodGet, "/_ping?a=%zz", ""); w.Code != 400 {
		t.Errorf("broken query: %d", w.Code)
	}
}

func TestTimes(t *testing.T) {
	for raw, want := range map[string]time.Time{
		"":                               {},
		"0":                              {},
		"0.000000000":                    {},
		"1136073845":                     time.Unix(1136073845, 0),
		"1136073845.5":                   time.Unix(1136073845, 500000000),
		"1136073845.000000001":           time.Unix(1136073845, 1),
		"1136073845.0000000019":          time.Unix(1136073845, 1),
		"-1.5":                           time.Unix(-1, -500000000),
		"2006-01-02T15:04:05.000000006Z": time.Date(2006, 1, 2, 15, 4, 5, 6, time.UTC),
	} {
		if got, err := parseTime(raw); err != nil || !got.Equal(want) {
			t.Errorf("%q: %v %v, want %v", raw, got, err, want)
		}
	}
	for _, raw := range []string{"x", "1.x", "1.-5", "5m", "1e3"} {
		if got, err := parseTime(raw); err == nil {
			t.Errorf("%q: %v", raw, got)
		}
	}
}

func TestTerminalSizes(t *testing.T) {
	for raw, words := range map[string]string{
		"h=10&w=20":         "",
		"h=0&w=0":           "",
		"h=x&w=20":          `invalid resize height "x": invalid syntax`,
		"w=20":              `invalid resize height "": invalid syntax`,
		"h=10&w=-1":         `invalid resize width "-1": value out of range`,
		"h=10&w=4294967296": `invalid resize width "4294967296": value out of range`,
		"h=%2B1&w=1":        `invalid resize height "+1": invalid syntax`,
	} {
		q, _ := parseQuery(raw)
		_, _, err := q.size()
		if words == "" && err != nil || words != "" && (err == nil || err.Error() != words) {
			t.Errorf("%s: %v", raw, err)
		}
	}
}

func TestJSONBodies(t *testing.T) {
	type body struct{ A string }
	for _, test := range []struct{ contentType, body, want string }{
		{"application/json", `{"A":"x"}`, ""},
		{"application/json; charset=utf-8", `{"A":"x","Unknown":{"deep":[1]}}`, ""},
		{"application/json", " \n{\"A\":\"x\"}\n\n", ""},
		{"", "", ""},
		{"application/json", "", ""},
		{"", `{"A":"x"}`, "malformed Content-Type header (): mime: no media type"},
		{"text/plain", `{"A":"x"}`, "unsupported Content-Type header (text/plain): must be 'application/json'"},
		{"foo;;;bar", `{"A":"x"}`, "malformed Content-Type header (foo;;;bar): mime: invalid media parameter"},
		{"application/json", `{"A":"x"} more`, "unexpected content after JSON"},
		{"application/json", `{"A":"x"}{}`, "unexpected content after JSON"},
		{"application/json", `{invalid`, "invalid JSON: invalid character 'i' looking for beginning of object key string"},
		{"application/json", "\n", "invalid JSON: got EOF while reading request body"},
		{"application/json", `{"A":"` + strings.Repeat("x", maxBody) + `"}`, "invalid JSON: the request body is larger than 16777216 bytes"},
	} {
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(test.body))
		r.Header.Set("Content-Type", test.contentType)
		c := &call{Request: r, w: httptest.NewRecorder()}
		var got body
		err := c.readJSON(&got)
		if test.want == "" && err != nil || test.want != "" && (err == nil || err.Error() != test.want) {
			t.Errorf("%.40q as %q: %v", test.body, test.contentType, err)
		}
		if err != nil && !errors.Is(err, errdefs.ErrInvalidArgument) {
			t.Errorf("%.40q: kind of %v", test.body, err)
		}
	}
}

// TestHugeBodyIsNotRead sends 100 MB of garbage, and of good JSON without an end.
func TestHugeBodyIsNotRead(t *testing.T) {
	_, path := serve(t, Parts{})
	for name, unit := range map[string]string{"garbage": "garbage ", "json": `{"A":[` + strings.Repeat("0,", 1000)} {
		body := &counter{unit: []byte(unit)}
		body.left.Store(100 << 20)
		if name == "json" {
			body.after = []byte(strings.Repeat("0,", 1000))
		}
		res, err := dialer(path).Post("http://cove/v1.45/containers/create", "application/json", body)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		text, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if res.StatusCode != 400 || !bytes.Contains(text, []byte("invalid JSON")) {
			t.Errorf("%s: %d %s", name, res.StatusCode, text)
		}
		if read := 100<<20 - body.left.Load(); read > 40<<20 {
			t.Errorf("%s: %d bytes were read", name, read)
		}
	}
}

// counter repeats unit, or after its first use after, until left is used up.
type counter struct {
	unit, after []byte
	left        atomic.Int64
}

func (c *counter) Read(p []byte) (int, error) {
	if c.left.Load() <= 0 {
		return 0, io.EOF
	}
	n := copy(p, c.unit)
	if c.after != nil {
		c.unit = c.after
	}
	c.left.Add(-int64(n))
	return n, nil
}

func TestPlatforms(t *testing.T) {
	for raw, words := range map[string]string{
		`{"os":"linux","architecture":"arm64","variant":"v8"}`: "",
		`{"architecture":"arm64"}`:                             "both OS and Architecture must be provided",
		`{"variant":"v8"}`:                                     "optional platform fields provided, but OS and Architecture are missing",
		`{}`:                                                   "both OS and Architecture must be provided",
		`linux/amd64`:                                          "failed to parse platform: invalid character 'l' looking for beginning of value",
	} {
		_, err := decodePlatform(raw)
		if words == "" && err != nil || words != "" && (err == nil || err.Error() != words) {
			t.Errorf("%s: %v", raw, err)
		}
	}
	for raw, want := range map[string]string{"linux/arm/v7": "arm", `{"os":"linux","architecture":"s390x"}`: "s390x"} {
		if p, err := parsePlatform(raw); err != nil || p.Architecture != want {
			t.Errorf("%s: %v %v", raw, p, err)
		}
	}
}

func FuzzDecodeQuery(f *testing.F) {
	f.Add("since=1.5&t=3&h=1&w=2&filters={}", "e30=")
	f.Fuzz(func(t *testing.T, raw, auth string) {
		_ = asCredentials(decodeAuth(auth))
		q, err := parseQuery(raw)
		if err != nil {
			return
		}
		_, _ = q.time("since")
		_, _ = q.int("t")
		_, _, _ = q.size()
		_, _ = q.filters()
		_ = q.bool("since")
		_, _, _ = pulledName(raw, auth)
		_, _ = tagTarget(raw, auth)
	})
}
