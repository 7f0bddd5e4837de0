package manifest

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/cove-containers/cove/cli/command"
	"github.com/cove-containers/cove/ref"
)

// store keeps lists in the making:
//
//	manifests/                    in the configuration folder
//	    <list>/                   name of the list, with - for : and _ for /
//	        <manifest>            an entry as JSON, under the name it was added by
type store struct{ dir string }

func lists(a *command.App) store {
	return store{filepath.Join(filepath.Dir(a.ConfigFile().Path()), "manifests")}
}

var fileNames = strings.NewReplacer(":", "-", "/", "_")

func (s store) folder(list ref.Name) string {
	return filepath.Join(s.dir, fileNames.Replace(list.String()))
}

// list gives the entries of a list, in the order of their names.
func (s store) list(name ref.Name) ([]entry, error) {
	files, err := os.ReadDir(s.folder(name))
	if errors.Is(err, os.ErrNotExist) || err == nil && len(files) == 0 {
		return nil, absent("No", name)
	}
	if err != nil {
		return nil, err
	}
	var all []entry
	for _, f := range files {
		e, err := readEntry(filepath.Join(s.folder(name), f.Name()))
		if err != nil {
			return nil, err
		}
		all = append(all, e)
	}
	return all, nil
}

// get gives one entry of a list.
func (s store) get(list, manifest ref.Name) (entry, error) {
	e, err := readEntry(filepath.Join(s.folder(list), fileNames.Replace(manifest.String())))
	if errors.Is(err, os.ErrNotExist) {
		err = absent("No", manifest)
	}
	return e, err
}

func readEntry(path string) (entry, error) {
	var e entry
	raw, err := os.ReadFile(path)
	if err != nil {
		return e, err
	}
	if err := json.Unmarshal(raw, &e); err != nil {
		return e, fmt.Errorf("read %s: %w", path, err)
	}
	return e, nil
}

// put adds an entry to a list, or replaces it. The file is written beside the list and moved there whole.
func (s store) put(list, manifest ref.Name, e entry) error {
	raw, err := json.Marshal(e)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(s.folder(list), 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(s.dir, ".entry-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(raw)
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), filepath.Join(s.folder(list), fileNames.Replace(manifest.String())))
}

// remove forgets a list.
func (s store) remove(list ref.Name) error { return os.RemoveAll(s.folder(list)) }

// names are those of the lists there are, as far as their folders tell: the folder of a name does not say which of its
// dashes was a colon, so what is found is a name that leads to it.
func (s store) names() []string {
	folders, _ := os.ReadDir(s.dir)
	var names []string
	for _, f := range folders {
		host, path, ok := strings.Cut(strings.ReplaceAll(f.Name(), "_", "/"), "/")
		if !ok || !f.IsDir() {
			continue
		}
		for _, candidate := range []string{lastColon(host) + "/" + lastColon(path), host + "/" + lastColon(path)} {
			if name, err := ref.Parse(candidate); err == nil && name.Tag != "" && fileNames.Replace(name.String()) == f.Name() {
				names = append(names, name.Familiar())
				break
			}
		}
	}
	return names
}

// lastColon puts a colon in place of the last dash.
func lastColon(s string) string {
	i := strings.LastIndexByte(s, '-')
	if i < 0 {
		return s
	}
	return s[:i] + ":" + s[i+1:]
}
