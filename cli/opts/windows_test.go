package opts

import (
	"slices"
	"strings"
	"testing"
)

// TestPathsOfWindows reads what binds folders of a Windows host: drives, shares, pipes and what shells for Windows make of them. It is the same
// wherever the command line runs, for the daemon may be elsewhere.
func TestPathsOfWindows(t *testing.T) {
	for spec, want := range map[string]string{
		`C:\dir:/x`:                       `C:\dir|/x|bind`,
		`C:\dir:/x:ro`:                    `C:\dir|/x|bind`,
		`c:/dir:/x:ro`:                    `c:/dir|/x|bind`,
		`C:\dir:D:\x`:                     `C:\dir|D:\x|bind`,
		`C:\dir:D:\x:ro`:                  `C:\dir|D:\x|bind`,
		`C:\`:                             `|C:\|`,
		`C:\:D:\`:                         `C:\|D:\|bind`,
		`C:\dir`:                          `|C:\dir|`,
		`\\server\share:/x`:               `\\server\share|/x|bind`,
		`\\server\share\dir:/x:ro`:        `\\server\share\dir|/x|bind`,
		`\\.\pipe\engine:\\.\pipe\engine`: `\\.\pipe\engine|\\.\pipe\engine|bind`,
		`//./pipe/engine://./pipe/engine`: `//./pipe/engine|//./pipe/engine|bind`,
		`//c/dir:/x`:                      `//c/dir|/x|bind`,
		`//c/dir:/x:ro,z`:                 `//c/dir|/x|bind`,
		`data:C:\x`:                       `data|C:\x|`,
		`data:/x`:                         `data|/x|`,
		`~/x:/x`:                          `~/x|/x|bind`,
		`C:\a:/b:ro:z`:                    `! invalid spec: C:\a:/b:ro:z: too many colons`,
		`C:\a:`:                           `! invalid spec: C:\a:: empty section between colons`,
		`:C:\a`:                           `! invalid spec: :C:\a: empty section between colons`,
	} {
		source, target, bind, err := splitVolume(spec)
		got := source + "|" + target + "|"
		if bind {
			got += "bind"
		}
		if err != nil {
			got = "! " + err.Error()
		}
		if got != want {
			t.Errorf("%s\n got %s\nwant %s", spec, got, want)
		}
	}
	given := []string{`C:\dir:/x:ro`, `\\server\share:/y`, `//c/dir:/z`, `\\.\pipe\a:\\.\pipe\a`, `data:C:\v`, `C:\anonymous`}
	volumes, binds, err := splitBinds(given)
	if _, anonymous := volumes[`C:\anonymous`]; err != nil || !anonymous || len(volumes) != 1 || !slices.Equal(binds, given[:5]) {
		t.Errorf("got %v, %v, %v", volumes, binds, err)
	}
	for spec, want := range map[string]string{
		`type=bind,source=C:\dir,target=/x`:              `bind C:\dir /x`,
		`type=bind,src=C:/dir,dst=C:\x,readonly`:         `bind C:/dir C:\x`,
		`type=bind,source=\\server\share,target=/x`:      `bind \\server\share /x`,
		`type=bind,source=//c/dir,target=/x`:             `bind //c/dir /x`,
		`type=npipe,source=\\.\pipe\a,target=\\.\pipe\b`: `npipe \\.\pipe\a \\.\pipe\b`,
		`type=volume,source=data,target=C:\x`:            `volume data C:\x`,
		`"type=bind","source=C:\a,b","target=/x"`:        `bind C:\a,b /x`,
	} {
		m, err := ParseMount(spec)
		if got := strings.Join([]string{string(m.Type), m.Source, m.Target}, " "); err != nil || got != want {
			t.Errorf("%s\n got %s, %v\nwant %s", spec, got, err, want)
		}
	}
}
