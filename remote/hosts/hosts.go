// Package hosts reads where the images of a registry are really to be had: the hosts.toml files of containerd and Docker.
//
//	<certs-dir>/
//	    registry.example:5000/hosts.toml    for the images of this registry
//	    _default/hosts.toml                 for those of all registries that have no folder
//
// A file is
//
//	server = "https://registry.example:5000"     the registry itself, asked last
//	[host."https://mirror.example"]              asked before, in the order of the file
//	  capabilities = ["pull", "resolve"]         resolve: also tags, not digests only; push: uploads go here
//	  ca = "mirror.crt"                          also a list; relative to the file
//	  client = [["me.cert", "me.key"]]
//	  skip_verify = false
//	  override_path = false                      true: the URL's path is the API's root, without /v2
//	  dial_timeout = "5s"
//	  [host."https://mirror.example".header]
//	    x-team = "a"
//
// with the keys of a host also at the top, where they speak of the server.
package hosts

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/BurntSushi/toml"
	"github.com/containerd/errdefs"
)

// fileName is what each of the files is called, defaultFolder where the one for all other registries lies.
const (
	fileName      = "hosts.toml"
	defaultFolder = "_default"
)

// Host is a place that images are to be had from.
type Host struct {
	Scheme, Host string
	// Root is the path the API lies below, with /v2 where that belongs to it.
	Root string
	// What may be asked of it.
	Pull, Resolve, Push bool
	Header              http.Header
	TLS                 TLS
}

// TLS is how to reach a host, where the file says something about that.
type TLS struct {
	CA         []string
	Client     [][2]string // certificate and key
	SkipVerify bool
	Dial       time.Duration
}

// Namespace is what a file says of one registry.
type Namespace struct {
	Mirrors []Host
	// Server is the registry itself, nil when the file does not name it.
	Server *Host
}

// Find looks for the file that speaks of a registry; "" when there is none.
func Find(dirs []string, registry string) string {
	for _, folder := range []string{registry, defaultFolder} {
		for _, dir := range dirs {
			path := filepath.Join(dir, filepath.Base(folder))
			if _, err := os.Stat(path); err != nil {
				continue
			}
			if _, err := os.Stat(filepath.Join(path, fileName)); err == nil {
				return filepath.Join(path, fileName)
			}
		}
		if folder == registry && slices.ContainsFunc(dirs, func(dir string) bool { return exists(filepath.Join(dir, filepath.Base(folder))) }) {
			return "" // it has certificates of its own, and no more
		}
	}
	return ""
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

// table is what the file may say of one host.
type table struct {
	Capabilities []string       `toml:"capabilities"`
	CA           any            `toml:"ca"`
	Client       any            `toml:"client"`
	SkipVerify   bool           `toml:"skip_verify"`
	OverridePath bool           `toml:"override_path"`
	DialTimeout  string         `toml:"dial_timeout"`
	Header       map[string]any `toml:"header"`
}

// Read reads a file. What it does not understand is errdefs.ErrInvalidArgument.
func Read(path string) (Namespace, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return Namespace{}, fmt.Errorf("read registry hosts: %w", err)
	}
	n, err := parse(string(raw), filepath.Dir(path))
	if err != nil {
		return Namespace{}, fmt.Errorf("read registry hosts %s: %w (%w)", path, err, errdefs.ErrInvalidArgument)
	}
	return n, nil
}

// parse reads the text of a file that lies in folder.
func parse(text, folder string) (Namespace, error) {
	var file struct {
		Server string           `toml:"server"`
		Host   map[string]table `toml:"host"`
		table
	}
	meta, err := toml.Decode(text, &file)
	if err != nil {
		return Namespace{}, err
	}
	var n Namespace
	seen := map[string]bool{}
	for _, key := range meta.Keys() { // in the order of the file, which a map has lost
		if len(key) < 2 || key[0] != "host" || seen[key[1]] {
			continue
		}
		seen[key[1]] = true
		h, err := file.Host[key[1]].host(key[1], folder)
		if err != nil {
			return Namespace{}, fmt.Errorf("host %q: %w", key[1], err)
		}
		n.Mirrors = append(n.Mirrors, h)
	}
	if file.Server == "" {
		return n, nil
	}
	if file.table.Capabilities == nil {
		file.table.Capabilities = []string{"pull", "resolve", "push"}
	}
	server, err := file.table.host(file.Server, folder)
	if err != nil {
		return Namespace{}, fmt.Errorf("server %q: %w", file.Server, err)
	}
	n.Server = &server
	return n, nil
}

// host makes a Host of its address and what the file says of it. Uploads go to a mirror only where the file says so.
func (t table) host(address, folder string) (Host, error) {
	if !strings.Contains(address, "://") {
		address = "https://" + address
	}
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" {
		return Host{}, errors.New("not a plain http or https URL")
	}
	h := Host{Scheme: u.Scheme, Host: u.Host, Root: strings.TrimRight(u.Path, "/"), Header: http.Header{}}
	if !t.OverridePath && !strings.HasSuffix(h.Root, "/v2") {
		h.Root += "/v2"
	}
	if t.Capabilities == nil {
		t.Capabilities = []string{"pull", "resolve"}
	}
	for _, c := range t.Capabilities {
		switch strings.ToLower(c) {
		case "pull":
			h.Pull = true
		case "resolve":
			h.Resolve = true
		case "push":
			h.Push = true
		default:
			return Host{}, fmt.Errorf("unknown capability %q", c)
		}
	}
	for key, value := range t.Header {
		list, err := texts(value)
		if err != nil {
			return Host{}, fmt.Errorf("header %q: %w", key, err)
		}
		h.Header[http.CanonicalHeaderKey(key)] = list
	}
	h.TLS, err = t.tls(folder)
	return h, err
}

func (t table) tls(folder string) (TLS, error) {
	out := TLS{SkipVerify: t.SkipVerify}
	var err error
	if out.CA, err = texts(t.CA); err != nil {
		return out, fmt.Errorf("ca: %w", err)
	}
	if out.Client, err = pairs(t.Client); err != nil {
		return out, fmt.Errorf("client: %w", err)
	}
	if t.DialTimeout != "" {
		if out.Dial, err = time.ParseDuration(t.DialTimeout); err != nil || out.Dial <= 0 {
			return out, fmt.Errorf("dial_timeout: %q is no duration", t.DialTimeout)
		}
	}
	inFolder := func(path string) string {
		if path == "" || filepath.IsAbs(path) {
			return path
		}
		return filepath.Join(folder, path)
	}
	for i := range out.CA {
		out.CA[i] = inFolder(out.CA[i])
	}
	for i := range out.Client {
		out.Client[i] = [2]string{inFolder(out.Client[i][0]), inFolder(out.Client[i][1])}
	}
	return out, nil
}

// texts reads a text or a list of them.
func texts(value any) ([]string, error) {
	switch v := value.(type) {
	case nil:
		return nil, nil
	case string:
		return []string{v}, nil
	case []any:
		var out []string
		for _, each := range v {
			s, ok := each.(string)
			if !ok {
				return nil, errors.New("not a list of texts")
			}
			out = append(out, s)
		}
		return out, nil
	}
	return nil, errors.New("neither a text nor a list of texts")
}

// pairs reads client certificates: a file with certificate and key, a list of such files, or a list of pairs.
func pairs(value any) ([][2]string, error) {
	list, ok := value.([]any)
	if !ok {
		list = []any{value}
	}
	var out [][2]string
	for _, each := range list {
		files, err := texts(each)
		switch {
		case err != nil:
			return nil, err
		case len(files) == 1 || len(files) == 2 && files[1] == "":
			out = append(out, [2]string{files[0], files[0]})
		case len(files) == 2:
			out = append(out, [2]string{files[0], files[1]})
		case len(files) > 2:
			return nil, errors.New("not a pair of certificate and key")
		}
	}
	return out, nil
}
