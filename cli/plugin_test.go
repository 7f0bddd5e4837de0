package cli

import (
	"archive/tar"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const somePlugins = `[{"Id":"b0123456789abcdef","Name":"p10:latest","Enabled":true,"PluginReference":"docker.io/x/p10:latest","Config":{"Description":"a\nplugin <that> has so much to say of itself that it is cut"}},
	{"Id":"a0123456789abcdef","Name":"p2:latest","Config":{"Description":"b"}}]`

func TestPluginLs(t *testing.T) {
	f := newFake(t)
	f.answers["GET /plugins"] = somePlugins
	for args, want := range map[string]string{
		"ls": "ID             NAME         DESCRIPTION                                     ENABLED\n" +
			"a0123456789a   p2:latest    b                                               false\n" +
			"b0123456789a   p10:latest   aplugin <that> has so much to say of itself …   true\n",
		"list -q":                           "a0123456789a\nb0123456789a\n",
		"ls -q --no-trunc":                  "a0123456789abcdef\nb0123456789abcdef\n",
		"ls --format {{.Name}}{{.Enabled}}": "p2:latestfalse\np10:latesttrue\n",
		"ls --format table {{.PluginReference}}\t{{.Enabled}}": "IMAGE                    ENABLED\n                         false\ndocker.io/x/p10:latest   true\n",
		"ls --format json": `{"Description":"b","Enabled":false,"ID":"a0123456789a","Name":"p2:latest","PluginReference":""}` + "\n" +
			`{"Description":"aplugin \u003cthat\u003e has so much to say of itself …","Enabled":true,"ID":"b0123456789a","Name":"p10:latest","PluginReference":"docker.io/x/p10:latest"}` + "\n",
	} {
		words := strings.SplitN(args, " --format ", 2)
		line := append([]string{"plugin"}, strings.Fields(words[0])...)
		if len(words) == 2 {
			line = append(line, "--format", words[1])
		}
		if out, errs, code := f.cove(t.Context(), "", line...); out != want || errs != "" || code != 0 {
			t.Errorf("%s: %d %q\n got %q\nwant %q", args, code, errs, out, want)
		}
	}
	if err := os.WriteFile(filepath.Join(os.Getenv("COVE_CONFIG"), "config.json"), []byte(`{"pluginsFormat":"{{.Name}}!"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, _, _ := f.cove(t.Context(), "", "plugin", "ls"); out != "p2:latest!\np10:latest!\n" {
		t.Errorf("pluginsFormat: %q", out)
	}
	if out, _, _ := f.cove(t.Context(), "", "__completeNoDesc", "plugin", "rm", "p2:latest", ""); out != "p10:latest\n:4\n" {
		t.Errorf("completion: %q", out)
	}
}

// TestPluginCommands has each command of plugin ask a daemon that has plugins for what it should.
func TestPluginCommands(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"config.json": "{}", "rootfs/x": "y"} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755), os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	const privileges = `[{"Name":"network","Description":"d","Value":["host"]}]`
	for _, c := range []struct {
		args, input string
		out, err    string
		code        int
		asked       map[string]string
	}{
		{args: "enable --timeout 5 p", out: "p\n", asked: map[string]string{"POST /plugins/p/enable?timeout=5": ""}},
		{args: "enable --timeout -1 p", err: "negative timeout -1 is invalid\n", code: 1},
		{args: "disable -f p", out: "p\n", asked: map[string]string{"POST /plugins/p/disable?force=1": ""}},
		{args: "rm -f p", out: "p\n", asked: map[string]string{"DELETE /plugins/p?force=1": ""}},
		{args: "set p A=1 B=2", asked: map[string]string{"POST /plugins/p/set": `["A=1","B=2"]`}},
		{args: "push x/p", out: "pushed\n", asked: map[string]string{"POST /plugins/x/p:latest/push": ""}},
		{args: "create p " + dir, out: "p\n", asked: map[string]string{"POST /plugins/create?name=p": "config.json rootfs/ rootfs/x"}},
		{args: "create p /nowhere", err: "lstat /nowhere: no such file or directory\n", code: 1},
		{args: "create P " + dir, err: "invalid reference format: repository name (library/P) must be lowercase\n", code: 1},
		{args: "install x/p", input: "n\n", out: "Plugin \"x/p\" is requesting the following privileges:\n - network: [host]\nDo you grant the above permissions? [y/N] ",
			err: "permission denied while installing plugin docker.io/x/p\n", code: 1, asked: map[string]string{"GET /plugins/privileges?remote=docker.io%2Fx%2Fp": ""}},
		{args: "install --grant-all-permissions --alias p x/p A=1", out: "pulled\nInstalled plugin x/p\n", asked: map[string]string{
			"GET /plugins/privileges?remote=docker.io%2Fx%2Fp": "", "POST /plugins/pull?name=p%3Alatest&remote=docker.io%2Fx%2Fp": privileges,
			"POST /plugins/p:latest/set": `["A=1"]`, "POST /plugins/p:latest/enable?timeout=0": ""}},
		{args: "install --disable --disable-content-trust x/p", input: "y\n",
			out:   "Plugin \"x/p\" is requesting the following privileges:\n - network: [host]\nDo you grant the above permissions? [y/N] pulled\nInstalled plugin x/p\n",
			asked: map[string]string{"GET /plugins/privileges?remote=docker.io%2Fx%2Fp": "", "POST /plugins/pull?remote=docker.io%2Fx%2Fp": privileges}},
		{args: "upgrade --grant-all-permissions p", out: "Upgrading plugin p from x/p:1 to x/p:1\nupgraded\nUpgraded plugin p to docker.io/x/p:1\n", asked: map[string]string{
			"GET /plugins/p/json": "", "GET /plugins/privileges?remote=docker.io%2Fx%2Fp%3A1": "", "POST /plugins/p/upgrade?remote=docker.io%2Fx%2Fp%3A1": privileges}},
		{args: "upgrade p x/p:2", input: "n\n", out: "Upgrading plugin p from x/p:1 to x/p:2\nPlugin images do not match, are you sure? [y/N] ", err: "plugin upgrade has been cancelled\n", code: 1,
			asked: map[string]string{"GET /plugins/p/json": ""}},
	} {
		f := newFake(t)
		maps.Copy(f.answers, map[string]string{
			"POST /plugins/p/enable": "", "POST /plugins/p:latest/enable": "", "POST /plugins/p/disable": "", "DELETE /plugins/p": "", "POST /plugins/p/set": "",
			"POST /plugins/p:latest/set": "", "POST /plugins/x/p:latest/push": `{"status":"pushed"}`, "POST /plugins/create": "", "GET /plugins/privileges": privileges,
			"POST /plugins/pull": `{"status":"pulled"}`, "POST /plugins/p/upgrade": `{"status":"upgraded"}`,
			"GET /plugins/p/json": `{"Name":"p","PluginReference":"docker.io/x/p:1"}`,
		})
		out, errs, code := f.cove(t.Context(), c.input, append([]string{"plugin"}, strings.Fields(c.args)...)...)
		if text, sent := f.asked["POST /plugins/create?name=p"]; sent {
			f.asked["POST /plugins/create?name=p"] = namesIn(t, text)
		}
		if out != c.out || errs != c.err || code != c.code || !maps.Equal(f.asked, c.asked) {
			t.Errorf("%s: %d\n out %q\nwant %q\n err %q\nwant %q\nasked %q\n want %q", c.args, code, out, c.out, errs, c.err, f.asked, c.asked)
		}
	}
}

// namesIn gives the names in a tar archive, sorted, but for that of its root.
func namesIn(t *testing.T, archive string) string {
	t.Helper()
	var names []string
	for r := tar.NewReader(strings.NewReader(archive)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if name := strings.TrimPrefix(h.Name, "./"); name != "" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

// TestCheckpoints asks a daemon that has checkpoints, and one that has none.
func TestCheckpoints(t *testing.T) {
	for _, c := range []struct {
		args, out string
		refused   string
		asked     map[string]string
	}{
		{"checkpoint ls web", "CHECKPOINT NAME\na\nb\n", "cove checkpoint ls", map[string]string{"GET /containers/web/checkpoints": ""}},
		{"checkpoint create --leave-running --checkpoint-dir /d web c", "c\n", "cove checkpoint create", map[string]string{"POST /containers/web/checkpoints": `{"CheckpointID":"c","CheckpointDir":"/d","Exit":false}`}},
		{"checkpoint rm web c", "", "cove checkpoint rm", map[string]string{"DELETE /containers/web/checkpoints/c": ""}},
		{"start --checkpoint c --checkpoint-dir /d web", "", `"--checkpoint"`, map[string]string{"POST /containers/web/start?checkpoint=c&checkpoint-dir=%2Fd": ""}},
	} {
		for _, experimental := range []bool{true, false} {
			f := newFake(t)
			f.experimental = experimental
			maps.Copy(f.answers, map[string]string{"GET /containers/web/checkpoints": `[{"Name":"a"},{"Name":"b"}]`, "POST /containers/web/checkpoints": "", "DELETE /containers/web/checkpoints/c": "", "POST /containers/web/start": ""})
			out, errs, code := f.cove(t.Context(), "", strings.Fields(c.args)...)
			if experimental && (out != c.out || errs != "" || code != 0 || !maps.Equal(f.asked, c.asked)) {
				t.Errorf("%s: %d %q %q %q", c.args, code, out, errs, f.asked)
			}
			want := c.refused + " is only supported on a Docker daemon with experimental features enabled\n"
			if !experimental && (out != "" || !strings.HasPrefix(errs, want) || code != 1 || len(f.asked) > 0) {
				t.Errorf("%s: %d %q %q %q", c.args, code, out, errs, f.asked)
			}
		}
	}
}
