package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/cove-containers/cove/cli/build"
	"github.com/cove-containers/cove/cli/command"
)

// visit calls do for every command that help shows.
func visit(c *cobra.Command, do func(*cobra.Command)) {
	for _, child := range c.Commands() {
		if child.IsAvailableCommand() {
			do(child)
			visit(child, do)
		}
	}
}

// TestTheTreeIsWhole looks at every command there is: what it says of itself, and that the names it takes can be completed.
func TestTheTreeIsWhole(t *testing.T) {
	seen := 0
	visit(root(&command.App{Build: build.Command}, nil), func(c *cobra.Command) {
		seen++
		path := c.CommandPath()
		if c.Short == "" || strings.HasSuffix(c.Short, ".") || !unicode.IsUpper(rune(c.Short[0])) {
			t.Errorf("%s: Short is %q", path, c.Short)
		}
		if c.HasSubCommands() || c.DisableFlagParsing { // what flags these have, others know
			return
		}
		flags, deprecated := false, false
		c.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if f.Name == "help" || f.Hidden {
				deprecated = deprecated || f.Name != "help"
				return
			}
			flags = true
			if f.Usage == "" || strings.HasSuffix(f.Usage, ".") || !unicode.IsUpper(rune(strings.TrimLeft(f.Usage, "`\"")[0])) {
				t.Errorf("%s --%s: usage is %q", path, f.Name, f.Usage)
			}
		})
		if flags != strings.Contains(c.Use, "[OPTIONS]") && !deprecated {
			t.Errorf("%s: has options: %v, but Use is %q", path, flags, c.Use)
		}
		for _, thing := range []string{"CONTAINER", "IMAGE", "VOLUME", "NETWORK", "CONTEXT", "MANIFEST_LIST", "SNAPSHOT", "PLUGIN"} {
			if strings.Contains(c.Use, thing) && c.ValidArgsFunction == nil {
				t.Errorf("%s: takes a %s that cannot be completed", path, thing)
			}
		}
	})
	if seen < 80 {
		t.Errorf("only %d commands seen", seen)
	}
}

// TestCompletion asks as shells do, which leave out themselves what does not fit; after ~ stands what must be there. The last line of an answer says what else may be offered: 4 no files, 2 no blank behind it.
func TestCompletion(t *testing.T) {
	f := newFake(t)
	dir := os.Getenv("COVE_CONFIG")
	for name, text := range map[string]string{
		"config.json": `{"auths":{"https://index.docker.io/v1/":{},"r.example.com:5000":{}},"credHelpers":{"h.example.com":"x"}}`,
		"manifests/docker.io_library_my-app-1.0/docker.io_library_x-1":           "{}",
		"manifests/r.example.com-5000_team_app-latest/r.example.com-5000_team_x": "{}",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for args, want := range map[string]string{
		"rm ":                          "web db :4",
		"rm web ":                      "db :4",
		"stop ":                        "web :4",
		"container exec ":              "web :4",
		"exec web ":                    ":4",
		"inspect ":                     "web db app:1 app:2 data bridge net :4",
		"run ":                         "app:1 app:2 :4",
		"run app:1 ":                   ":0",
		"rmi app:2 ":                   "app:1 :4",
		"volume rm ":                   "data :4",
		"network inspect net ":         "bridge :4",
		"context use ":                 "default :4",
		"login ":                       "docker.io h.example.com r.example.com:5000 :4",
		"manifest push ":               "my-app:1.0 r.example.com:5000/team/app:latest :4",
		"cp ":                          "web: db: :2",
		"cp w":                         "web: :2",
		"cp ./":                        ":0",
		"cp web:/":                     ":4",
		"run --restart ":               "always no on-failure unless-stopped :4",
		"run --restart=a":              "always no on-failure unless-stopped :4",
		"run --network ":               "bridge net container: :4",
		"run --runtime ":               "cove runc :4",
		"run --log-driver ":            "json-file local :4",
		"run --volumes-from ":          "web db :4",
		"run --env-file ":              ":0",
		"run --hostname ":              ":4",
		"run --cap-add NET_B":          "~ NET_ADMIN NET_BIND_SERVICE ",
		"ps --format ":                 "table json :4",
		"inspect --format ":            "json :4",
		"ps --filter status=r":         "~ status=running volume= :6",
		"image prune --filter ":        "label= label!= until= :6",
		"kill --signal HU":             "~ HUP ILL ",
		"container print-run --sa":     "--same-volumes :4",
		"--context ":                   "default :4",
		"manifest annotate --variant ": "v5 v6 v7 v8 :4",
		"container unp":                "unpause :4",
		"build --progress ":            "auto plain quiet rawjson tty :4",
		"build --call ":                "build check outline targets :4",
		"image build --network ":       "default host none :4",
		"builder build --file ":        ":0",
		"builder prune --filter un":    "~ until= :6",
		"build ":                       ":16",
	} {
		words := append([]string{"__completeNoDesc"}, strings.Split(args, " ")...)
		out, _, code := f.cove(t.Context(), "", words...)
		got := strings.Join(strings.Fields(out), " ")
		part, partly := strings.CutPrefix(want, "~")
		if code != 0 || partly && !strings.Contains(got, part) || !partly && got != want {
			t.Errorf("%s\n got %s, %d\nwant %s", args, got, code, want)
		}
	}
}
