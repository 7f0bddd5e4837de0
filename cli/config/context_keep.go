package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Metadata is meta.json. What Cove does not know of it, other tools' endpoints for instance, is kept.
type Metadata struct {
	Name      string                     `json:",omitempty"`
	Metadata  map[string]json.RawMessage `json:""`
	Endpoints map[string]json.RawMessage `json:""`
}

// Endpoint is how a context's daemon is reached.
type Endpoint struct {
	Host          string `json:",omitempty"`
	SkipTLSVerify bool
}

// Daemon is the name of the endpoint that docker's and Cove's command lines use.
const Daemon = "docker"

// Daemon gives the endpoint that is used; one that is not there is empty.
func (m Metadata) Daemon() (e Endpoint, err error) {
	if raw, ok := m.Endpoints[Daemon]; ok {
		err = json.Unmarshal(raw, &e)
	}
	return e, err
}

// Description is what the user says of the context.
func (m Metadata) Description() (text string) {
	_ = json.Unmarshal(m.Metadata["Description"], &text) // one that is no text is none
	return text
}

// Describe changes the description; an empty one takes it away.
func (m *Metadata) Describe(text string) error {
	if text == "" {
		delete(m.Metadata, "Description")
		return nil
	}
	return put(&m.Metadata, "Description", text)
}

// Reach changes how the daemon is reached.
func (m *Metadata) Reach(e Endpoint) error { return put(&m.Endpoints, Daemon, e) }

func put(into *map[string]json.RawMessage, key string, value any) error {
	raw, err := json.Marshal(value)
	if *into == nil {
		*into = map[string]json.RawMessage{}
	}
	(*into)[key] = raw
	return err
}

// Certificates are the files of a context's endpoints: "docker/ca.pem" and its like, with what is in them.
type Certificates map[string][]byte

// Whole gives all that is kept of a context. The default one is made of flags and environment.
func (f *File) Whole(name string, c Choice) (Metadata, Certificates, error) {
	if name == "default" {
		return f.standard(c)
	}
	context, err := f.Context(name)
	if err != nil {
		return Metadata{}, nil, err
	}
	found := Certificates{}
	root := os.DirFS(filepath.Dir(context.tls))
	err = fs.WalkDir(root, ".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			found[path], err = fs.ReadFile(root, path)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	return context.Metadata, found, err
}

// standard is the context of who has chosen none.
func (f *File) standard(c Choice) (Metadata, Certificates, error) {
	c.Context = ""
	m := Metadata{Name: "default"}
	files, secure := f.tlsFiles(c)
	host := FirstEnv("COVE_HOST", "DOCKER_HOST")
	if len(c.Hosts) == 1 {
		host = c.Hosts[0]
	}
	host, err := ParseHost(host, secure)
	if err != nil {
		return m, nil, err
	}
	e := Endpoint{Host: host, SkipTLSVerify: secure && !files.Verify}
	certificates, err := files.Read()
	if !secure {
		certificates, err = nil, nil
	}
	return m, certificates, errors.Join(err, m.Reach(e), m.Describe("Current DOCKER_HOST based configuration"))
}

// Read reads the files as the certificates of a context.
func (t TLSFiles) Read() (Certificates, error) {
	found := Certificates{}
	for name, path := range map[string]string{"ca.pem": t.CA, "cert.pem": t.Cert, "key.pem": t.Key} {
		if path == "" {
			continue
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		found[Daemon+"/"+name] = raw
	}
	return found, nil
}

// Keep writes a context: what is not nil of certificates replaces all it had.
func (f *File) Keep(m Metadata, certificates Certificates) error {
	hash := hashOf(m.Name)
	if err := os.MkdirAll(filepath.Join(f.Dir, "contexts"), 0o755); err != nil {
		return err
	}
	if certificates != nil {
		if err := f.keepCertificates(hash, certificates); err != nil {
			return fmt.Errorf("context %q: %w", m.Name, err)
		}
	}
	if m.Metadata == nil {
		m.Metadata = map[string]json.RawMessage{}
	}
	raw, err := json.Marshal(m)
	if err != nil {
		return err
	}
	dir := filepath.Join(f.Dir, "contexts", "meta", hash)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return replace(filepath.Join(dir, "meta.json"), raw, 0o644)
}

func (f *File) keepCertificates(hash string, certificates Certificates) error {
	dir := filepath.Join(f.Dir, "contexts", "tls", hash)
	if err := os.RemoveAll(dir); err != nil || len(certificates) == 0 {
		return err
	}
	for name, content := range certificates {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(path, content, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// replace writes a file new and puts it in place of the one that was there.
func replace(path string, content []byte, mode fs.FileMode) error {
	temp, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name())
	_, err = temp.Write(content)
	if err == nil {
		err = temp.Chmod(mode)
	}
	if closed := temp.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return err
	}
	return os.Rename(temp.Name(), path)
}

// HasContext tells whether a context is kept under name, readable or not.
func (f *File) HasContext(name string) bool {
	_, err := os.Stat(filepath.Join(f.Dir, "contexts", "meta", hashOf(name)))
	return err == nil
}

// Drop removes a context; one that is not there is no error.
func (f *File) Drop(name string) error {
	hash := hashOf(name)
	return errors.Join(
		os.RemoveAll(filepath.Join(f.Dir, "contexts", "meta", hash)),
		os.RemoveAll(filepath.Join(f.Dir, "contexts", "tls", hash)))
}

// CheckName refuses names that a context cannot be kept under.
func CheckName(name string) error {
	const first = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	switch {
	case name == "":
		return errors.New("context name cannot be empty")
	case name == "default":
		return errors.New(`"default" is a reserved context name`)
	case len(name) < 2, strings.Trim(name, first+"_.+-") != "", strings.Trim(name[:1], first) != "":
		return fmt.Errorf(`context name %q is invalid, names are validated against regexp "^[a-zA-Z0-9][a-zA-Z0-9_.+-]+$"`, name)
	}
	return nil
}
