package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// readFile takes the settings of the file for which there is no flag on the command line. A missing default file
// is no error.
func (s *settings) readFile() error {
	raw, err := os.ReadFile(s.configFile)
	if errors.Is(err, fs.ErrNotExist) && !s.flags.Changed("config-file") {
		return nil
	}
	if err != nil {
		return err
	}
	return s.apply(raw)
}

// apply sets every flag that a key of the document stands for.
func (s *settings) apply(raw []byte) error {
	raw = bytes.TrimPrefix(raw, []byte("\xef\xbb\xbf"))
	if len(bytes.TrimSpace(raw)) == 0 {
		return nil
	}
	var document map[string]json.RawMessage
	if err := json.Unmarshal(raw, &document); err != nil {
		return fmt.Errorf("not a JSON document: %w", err)
	}
	if err := flatten(document); err != nil {
		return err
	}
	byKey := s.byKey()
	if err := s.meet(document, byKey); err != nil {
		return err
	}
	for key, value := range document {
		texts, err := flagTexts(key, value)
		if err != nil {
			return fmt.Errorf("key %q: %w", key, err)
		}
		for _, text := range texts {
			if err := byKey[key].Value.Set(text); err != nil {
				return fmt.Errorf("key %q: %w", key, err)
			}
		}
	}
	return nil
}

// flatten takes the keys of proxies, which stand together in the file, and gives keys that have another name now theirs.
func flatten(document map[string]json.RawMessage) error {
	var proxies map[string]json.RawMessage
	if raw, has := document["proxies"]; has {
		if err := json.Unmarshal(raw, &proxies); err != nil {
			return fmt.Errorf("key \"proxies\": %w", err)
		}
		delete(document, "proxies")
	}
	maps.Copy(document, proxies)
	for was, is := range formerly {
		raw, has := document[was]
		if !has {
			continue
		}
		if _, twice := document[is]; twice {
			return fmt.Errorf("%s and %s must not both be specified in the config file", was, is)
		}
		document[is] = raw
		delete(document, was)
	}
	return nil
}

// meet refuses keys that nobody knows, and those that flags have been given for, all at once and in dockerd's words.
func (s *settings) meet(document map[string]json.RawMessage, byKey map[string]*pflag.Flag) error {
	var unknown, conflicts []string
	for _, key := range slices.Sorted(maps.Keys(document)) {
		flag := byKey[key]
		switch {
		case flag == nil:
			unknown = append(unknown, key)
		case flag.Changed && key != "runtimes": // which are put together
			var value any
			if err := json.Unmarshal(document[key], &value); err != nil {
				return err
			}
			ours, theirs := flag.Value.String(), fmt.Sprint(value)
			if strings.HasSuffix(key, "-proxy") {
				ours, theirs = masked(ours), masked(theirs)
			}
			conflicts = append(conflicts, fmt.Sprintf("%s: (from flag: %s, from file: %s)", key, ours, theirs))
		}
	}
	if len(unknown) > 0 {
		return fmt.Errorf("the following directives don't match any configuration option: %s", strings.Join(unknown, ", "))
	}
	if len(conflicts) > 0 {
		return fmt.Errorf("the following directives are specified both as a flag and in the configuration file: %s", strings.Join(conflicts, ", "))
	}
	return nil
}

// masked is the address of a proxy without the name and the password that may be in it.
func masked(proxy string) string {
	u, err := url.Parse(proxy)
	if err != nil || u.User == nil {
		return proxy
	}
	u.User = url.UserPassword("xxxxx", "xxxxx")
	return u.String()
}

func (s *settings) byKey() map[string]*pflag.Flag {
	out := map[string]*pflag.Flag{}
	s.flags.VisitAll(func(f *pflag.Flag) {
		if notInFile[f.Name] {
			return
		}
		key := f.Name
		if k, ok := keys[f.Name]; ok {
			key = k
		}
		out[key] = f
	})
	return out
}

// flagTexts writes a value of the file as the values of its flag.
func flagTexts(key string, raw json.RawMessage) ([]string, error) {
	switch key {
	case "default-address-pools":
		return poolTexts(raw)
	case "runtimes":
		return runtimeTexts(raw)
	case "default-ulimits":
		return ulimitTexts(raw)
	case "default-network-opts":
		return networkTexts(raw)
	case "builder":
		return []string{string(raw)}, nil
	}
	var value any
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	if err := decoder.Decode(&value); err != nil {
		return nil, err
	}
	switch v := value.(type) {
	case string:
		return []string{v}, nil
	case bool, json.Number:
		return []string{fmt.Sprint(v)}, nil
	case []any:
		var out []string
		for _, item := range v {
			text, ok := item.(string)
			if !ok {
				return nil, fmt.Errorf("%v is not a string", item)
			}
			out = append(out, text)
		}
		return out, nil
	case map[string]any:
		var out []string
		for _, name := range slices.Sorted(maps.Keys(v)) {
			out = append(out, fmt.Sprintf("%s=%v", name, v[name]))
		}
		return out, nil
	}
	return nil, fmt.Errorf("unexpected value %s", raw)
}

func poolTexts(raw json.RawMessage) ([]string, error) {
	var list []struct {
		Base string `json:"base"`
		Size int    `json:"size"`
	}
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, err
	}
	var out []string
	for _, p := range list {
		out = append(out, fmt.Sprintf("base=%s,size=%d", p.Base, p.Size))
	}
	return out, nil
}

func networkTexts(raw json.RawMessage) ([]string, error) {
	var all map[string]map[string]string
	if err := json.Unmarshal(raw, &all); err != nil {
		return nil, err
	}
	var out []string
	for _, driver := range slices.Sorted(maps.Keys(all)) {
		for _, name := range slices.Sorted(maps.Keys(all[driver])) {
			out = append(out, driver+"="+name+"="+all[driver][name])
		}
	}
	return out, nil
}

func runtimeTexts(raw json.RawMessage) ([]string, error) {
	var all map[string]struct {
		Path    string   `json:"path"`
		Args    []string `json:"runtimeArgs"`
		Type    string   `json:"runtimeType"`
		Options struct{ BinaryName string }
	}
	if err := json.Unmarshal(raw, &all); err != nil {
		return nil, err
	}
	var out []string
	for _, name := range slices.Sorted(maps.Keys(all)) {
		r := all[name]
		switch {
		case len(r.Args) > 0:
			return nil, fmt.Errorf("runtime %q: runtimeArgs are not supported: name a script as its path that adds them", name)
		case r.Type == "io.containerd.runc.v2" && r.Path == "": // another runtime in the place of runc
			r.Path = r.Options.BinaryName
		case r.Type != "":
			return nil, fmt.Errorf("runtime %q: runtimeType %s is not supported: there is no containerd; name the program as its path", name, r.Type)
		}
		out = append(out, name+"="+r.Path)
	}
	return out, nil
}

func ulimitTexts(raw json.RawMessage) ([]string, error) {
	var all map[string]struct{ Name, Soft, Hard json.RawMessage }
	if err := json.Unmarshal(raw, &all); err != nil {
		return nil, err
	}
	var out []string
	for _, name := range slices.Sorted(maps.Keys(all)) {
		out = append(out, fmt.Sprintf("%s=%s:%s", name, all[name].Soft, all[name].Hard))
	}
	return out, nil
}

// setLevel makes the log as talkative as the settings say.
func (s *settings) setLevel() error {
	switch s.logLevel {
	case "debug":
		s.level.Set(slog.LevelDebug)
	case "", "info":
		s.level.Set(slog.LevelInfo)
	case "warn":
		s.level.Set(slog.LevelWarn)
	case "error", "fatal":
		s.level.Set(slog.LevelError)
	default:
		return fmt.Errorf("invalid logging level: %s", s.logLevel)
	}
	if s.logFormat != "text" && s.logFormat != "json" {
		return fmt.Errorf("invalid log format: %s", s.logFormat)
	}
	return nil
}

func newLog(s *settings) *slog.Logger {
	o := &slog.HandlerOptions{Level: s.level}
	if s.logFormat == "json" {
		return slog.New(slog.NewJSONHandler(os.Stderr, o))
	}
	return slog.New(slog.NewTextHandler(os.Stderr, o))
}
