package cli

import (
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestHelp(t *testing.T) {
	f := newFake(t)
	out, _, code := f.cove(t.Context(), "", "rm", "--help")
	want := `Usage:  cove rm [OPTIONS] CONTAINER [CONTAINER...]

Remove one or more containers

Aliases:
  cove container rm, cove container remove, cove rm

Options:
  -f, --force     Force the removal of a running container (uses SIGKILL)
  -l, --link      Remove the specified link
  -v, --volumes   Remove anonymous volumes associated with the container
`
	if out != want || code != 0 {
		t.Errorf("got %d\n%s", code, out)
	}
	out, _, _ = f.cove(t.Context(), "")
	for _, part := range []string{"Usage:  cove [OPTIONS] COMMAND\n", "\nCommon Commands:\n  run         Create and run", "\nManagement Commands:\n  builder ", "\nGlobal Options:\n", "Run 'cove COMMAND --help' for more information on a command.\n"} {
		if !strings.Contains(out, part) {
			t.Errorf("%q is not in\n%s", part, out)
		}
	}
}

// TestEveryCommand asks every command for its help: flags that clash panic.
func TestEveryCommand(t *testing.T) {
	f := newFake(t)
	for _, e := range entries() {
		if e.group == "" {
			continue
		}
		out, errs, code := f.cove(t.Context(), "", e.name, "--help")
		if code != 0 || errs != "" || !strings.HasPrefix(out, "Usage:  cove "+e.name) {
			t.Errorf("%s: %d %q %q", e.name, code, errs, out)
		}
	}
	out, errs, code := f.cove(t.Context(), "", "completion", "bash")
	if code != 0 || errs != "" || !strings.Contains(out, "__start_cove") {
		t.Errorf("completion: %d %q", code, errs)
	}
}

func TestConfirm(t *testing.T) {
	f := newFake(t)
	out, errs, code := f.cove(t.Context(), "n\n", "container", "prune")
	if out != "WARNING! This will remove all stopped containers.\nAre you sure you want to continue? [y/N] " || errs != "" || code != 0 || f.seen() != "" {
		t.Errorf("%q %q %d %s", out, errs, code, f.seen())
	}
	_, _, code = f.cove(t.Context(), "Y\n", "container", "prune")
	if f.seen() != "POST /containers/prune" || code != 1 {
		t.Errorf("%d %s", code, f.seen())
	}
}

// TestPruneFilters: what the configuration says of every prune holds too, unless the command line says the contrary.
func TestPruneFilters(t *testing.T) {
	f := newFake(t)
	text := `{"pruneFilters":["label!=keep","label=old","until=24h","rubbish"]}`
	if err := os.WriteFile(filepath.Join(os.Getenv("COVE_CONFIG"), "config.json"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"containers", "images", "networks", "volumes", "build"} {
		f.answers["POST /"+kind+"/prune"] = "{}"
	}
	for line, want := range map[string]string{
		"container prune -f":                     `{"label":{"old":true},"label!":{"keep":true},"until":{"24h":true}}`,
		"container prune -f --filter label=keep": `{"label":{"keep":true,"old":true},"until":{"24h":true}}`,
		"network prune -f --filter label!=old":   `{"label!":{"keep":true,"old":true},"until":{"24h":true}}`,
		"image prune -f":                         `{"dangling":{"true":true},"label":{"old":true},"label!":{"keep":true},"until":{"24h":true}}`,
		"volume prune -f":                        `{"label":{"old":true},"label!":{"keep":true},"until":{"24h":true}}`,
		"builder prune -f":                       `{"label":{"old":true},"label!":{"keep":true},"until":{"24h":true}}`,
		"system prune -f":                        `{"label":{"old":true},"label!":{"keep":true},"until":{"24h":true}}`,
	} {
		clear(f.asked)
		if _, errs, code := f.cove(t.Context(), "", strings.Fields(line)...); errs != "" || code != 0 {
			t.Errorf("%s: %d %q", line, code, errs)
		}
		if len(f.asked) == 0 {
			t.Errorf("%s has asked for nothing", line)
		}
		for call := range f.asked {
			_, query, _ := strings.Cut(call, "?")
			values, _ := url.ParseQuery(query)
			got := values.Get("filters")
			if strings.HasPrefix(line, "system") && strings.Contains(call, "images") {
				got = strings.Replace(got, `"dangling":{"true":true},`, "", 1)
			}
			if got != want {
				t.Errorf("%s: %s\n got %s\nwant %s", line, call, got, want)
			}
		}
	}
}

func TestMissingDaemon(t *testing.T) {
	f := newFake(t)
	f.host = "unix:///nowhere"
	const away = "Cannot connect to the Cove daemon at unix:///nowhere. Is the cove daemon running?\n"
	if _, errs, code := f.cove(t.Context(), "", "ps"); errs != away || code != 1 {
		t.Errorf("%q %d", errs, code)
	}
	if _, errs, code := f.cove(t.Context(), "", "run", "busybox"); errs != "cove: "+away+"\nRun 'cove run --help' for more information\n" || code != 125 {
		t.Errorf("%q %d", errs, code)
	}
	if out, errs, code := f.cove(t.Context(), "", "version"); !strings.HasPrefix(out, "Client:\n Version: ") || errs != away || code != 1 {
		t.Errorf("%q %q %d", out, errs, code)
	}
	if out, _, code := f.cove(t.Context(), "", "inspect", "x"); out != "[]\n" || code != 1 {
		t.Errorf("%q %d", out, code)
	}
}
