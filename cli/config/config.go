// Package config reads what docker's command line keeps in its folder, and keeps it there in the same form: settings,
// registry credentials and contexts. With flags and environment they say which daemon to talk to, and how.
//
//	<folder>/
//	    config.json                       settings and credentials
//	    contexts/meta/<hash>/meta.json    one context: name, description, address
//	    contexts/tls/<hash>/docker/*.pem  its certificates: ca, cert, key
package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// File is config.json. Fields of it that Cove does not know are kept when it is saved.
type File struct {
	// Dir is the folder the file is in, whether or not it exists.
	Dir            string            `json:"-"`
	CredsStore     string            `json:"credsStore"`
	CredHelpers    map[string]string `json:"credHelpers"`
	DetachKeys     string            `json:"detachKeys"`
	CurrentContext string            `json:"currentContext"`
	PluginFolders  []string          `json:"cliPluginsExtraDirs"`
	HTTPHeaders    map[string]string `json:"HttpHeaders"`
	Proxies        map[string]Proxy  `json:"proxies"`
	PsFormat       string            `json:"psFormat"`
	ImagesFormat   string            `json:"imagesFormat"`
	NetworksFormat string            `json:"networksFormat"`
	VolumesFormat  string            `json:"volumesFormat"`
	PluginsFormat  string            `json:"pluginsFormat"`
	StatsFormat    string            `json:"statsFormat"`
	PruneFilters   []string          `json:"pruneFilters"` // conditions that every prune has besides

	auths  map[string]entry
	all    map[string]json.RawMessage
	broken error // why the file could not be read: it is then not written over
}

// Proxy is what containers are told of the proxies they should use.
type Proxy struct {
	HTTP  string `json:"httpProxy"`
	HTTPS string `json:"httpsProxy"`
	No    string `json:"noProxy"`
	FTP   string `json:"ftpProxy"`
	All   string `json:"allProxy"`
}

// DefaultDir is the folder used when none is named: $COVE_CONFIG, $DOCKER_CONFIG or ~/.docker.
func DefaultDir() string {
	for _, name := range []string{"COVE_CONFIG", "DOCKER_CONFIG"} {
		if dir := os.Getenv(name); dir != "" {
			return dir
		}
	}
	home, _ := os.UserHomeDir()
	return filepath.Join(home, ".docker")
}

// Load reads config.json in dir. A file that does not exist is an empty one.
func Load(dir string) (*File, error) {
	f := &File{Dir: dir, all: map[string]json.RawMessage{}}
	raw, err := os.ReadFile(f.Path())
	if errors.Is(err, fs.ErrNotExist) {
		return f, nil
	}
	if err == nil {
		err = f.parse(raw)
	}
	if err != nil {
		f.broken = fmt.Errorf("Error parsing config file (%s): %w", f.Path(), err) //nolint:staticcheck // docker's words
	}
	return f, f.broken
}

// parse reads the file's text; an empty one says nothing.
func (f *File) parse(raw []byte) error {
	err := json.NewDecoder(bytes.NewReader(raw)).Decode(&f.all)
	if errors.Is(err, io.EOF) {
		return nil
	}
	if err == nil {
		err = json.Unmarshal(raw, f)
	}
	if auths, ok := f.all["auths"]; ok && err == nil {
		err = json.Unmarshal(auths, &f.auths)
	}
	for key, e := range f.auths {
		if err == nil {
			_, err = decode(e, key)
		}
	}
	return err
}

// Path is where the file is.
func (f *File) Path() string { return filepath.Join(f.Dir, "config.json") }

// set puts a value into the file; a nil one takes the field away.
func (f *File) set(name string, value any) error {
	if value == nil {
		delete(f.all, name)
		return nil
	}
	raw, err := json.Marshal(value)
	if err == nil {
		f.all[name] = raw
	}
	return err
}

// save writes the file anew and puts it in place of the old one, where a link leads to it.
func (f *File) save() error {
	if f.broken != nil {
		return f.broken
	}
	if err := os.MkdirAll(f.Dir, 0o700); err != nil {
		return err
	}
	raw, err := json.MarshalIndent(f.all, "", "\t")
	if err != nil {
		return err
	}
	target := f.Path()
	if real, err := filepath.EvalSymlinks(target); err == nil {
		target = real
	}
	mode := fs.FileMode(0o600)
	if old, err := os.Stat(target); err == nil {
		mode = old.Mode().Perm()
	}
	return replace(target, raw, mode)
}

// UseContext makes name the context of later commands; "default" is none.
func (f *File) UseContext(name string) error {
	var value any
	if name != "default" {
		value = name
	}
	if err := f.set("currentContext", value); err != nil {
		return err
	}
	return f.save()
}

// ProxyEnv gives the variables that containers of the daemon at host get besides those of given, which are
// "NAME=value" or "NAME".
func (f *File) ProxyEnv(host string, given []string) []string {
	proxy, ok := f.Proxies[host]
	if !ok {
		proxy = f.Proxies["default"]
	}
	named := map[string]bool{}
	for _, env := range given {
		name, _, _ := strings.Cut(env, "=")
		named[name] = true
	}
	var out []string
	for _, p := range []struct{ name, value string }{
		{"HTTP_PROXY", proxy.HTTP}, {"HTTPS_PROXY", proxy.HTTPS}, {"NO_PROXY", proxy.No}, {"FTP_PROXY", proxy.FTP}, {"ALL_PROXY", proxy.All},
	} {
		for _, name := range []string{p.name, strings.ToLower(p.name)} {
			if p.value != "" && !named[name] {
				out = append(out, name+"="+p.value)
			}
		}
	}
	return out
}
