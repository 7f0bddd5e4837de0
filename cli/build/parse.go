package build

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"

	"github.com/containerd/platforms"
	"github.com/cove-containers/cove/ref"
	"github.com/docker/go-units"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	"github.com/moby/buildkit/session/secrets/secretsprovider"
	"github.com/moby/buildkit/session/sshforward/sshprovider"
	"github.com/tonistiigi/go-csvvalue"
)

// fields splits a flag's value at its commas, where quotes do not protect them.
func fields(s string) ([]string, error) {
	if s == "" {
		return nil, nil
	}
	return csvvalue.Fields(s, nil)
}

// attributes reads "key=value,…"; keys are lower case then.
func attributes(s string) (map[string]string, error) {
	list, err := fields(s)
	if err != nil {
		return nil, err
	}
	m := make(map[string]string, len(list))
	for _, field := range list {
		key, val, ok := strings.Cut(field, "=")
		if !ok {
			return nil, fmt.Errorf("invalid value %s", field)
		}
		m[strings.ToLower(strings.TrimSpace(key))] = val
	}
	return m, nil
}

// take removes a key and gives what it held.
func take(m map[string]string, key string) string {
	val := m[key]
	delete(m, key)
	return val
}

// pairs reads "key=value" strings; a key without value is given the environment's, or the empty one when it is none of env's business.
func pairs(list []string, env bool) (map[string]string, error) {
	m := make(map[string]string, len(list))
	for _, s := range list {
		key, val, given := strings.Cut(s, "=")
		if key == "" {
			return nil, fmt.Errorf("invalid key-value pair %q: empty key", s)
		}
		if !given && env {
			if val, given = os.LookupEnv(key); !given {
				continue
			}
		}
		m[key] = val
	}
	return m, nil
}

// output is one place where the result goes.
type output struct {
	kind, dest string
	attrs      map[string]string
}

// parseOutputs reads --output. A single word is a folder, a dash is a tar archive on standard output.
func parseOutputs(list []string) ([]output, error) {
	var out []output
	for _, s := range list {
		switch {
		case s == "":
			continue
		case s == "-":
			out = append(out, output{kind: client.ExporterTar, dest: "-", attrs: map[string]string{}})
			continue
		case !strings.ContainsAny(s, ",\"") && !strings.HasPrefix(s, "type="):
			out = append(out, output{kind: client.ExporterLocal, dest: s, attrs: map[string]string{}})
			continue
		}
		attrs, err := attributes(s)
		if err != nil {
			return nil, err
		}
		o := output{kind: take(attrs, "type"), dest: take(attrs, "dest"), attrs: attrs}
		if o.kind == "" {
			return nil, errors.New("type is required for output")
		}
		if o.kind == "registry" {
			o.kind, attrs["push"] = client.ExporterImage, "true"
		}
		out = append(out, o)
	}
	return out, nil
}

// parseCaches reads --cache-from and --cache-to; a name alone is a cache in a registry.
func parseCaches(list []string) ([]client.CacheOptionsEntry, error) {
	var out []client.CacheOptionsEntry
	for _, s := range list {
		if s == "" {
			continue
		}
		if !strings.Contains(s, "=") {
			names, err := fields(s)
			if err != nil {
				return nil, err
			}
			for _, name := range names {
				out = append(out, client.CacheOptionsEntry{Type: "registry", Attrs: map[string]string{"ref": name}})
			}
			continue
		}
		attrs, err := attributes(s)
		if err != nil {
			return nil, err
		}
		kind := take(attrs, "type")
		switch kind {
		case "":
			return nil, fmt.Errorf("type required form> %q", s)
		case "inline", "registry", "local":
		default:
			return nil, fmt.Errorf("cache of type %q is not supported: Cove keeps caches inline, in a registry or in a local folder", kind)
		}
		out = append(out, client.CacheOptionsEntry{Type: kind, Attrs: attrs})
	}
	return out, nil
}

// parseSecrets reads --secret.
func parseSecrets(list []string) ([]secretsprovider.Source, error) {
	var out []secretsprovider.Source
	for _, s := range list {
		if s == "" {
			continue
		}
		list, err := fields(s)
		if err != nil {
			return nil, fmt.Errorf("failed to parse csv secret: %w", err)
		}
		var source secretsprovider.Source
		kind := ""
		for _, field := range list {
			key, val, ok := strings.Cut(field, "=")
			if !ok {
				return nil, fmt.Errorf("invalid field '%s' must be a key=value pair", field)
			}
			switch strings.ToLower(key) {
			case "type":
				if kind = val; val != "file" && val != "env" {
					return nil, fmt.Errorf("unsupported secret type %q", val)
				}
			case "id":
				source.ID = val
			case "source", "src":
				source.FilePath = val
			case "env":
				source.Env = val
			default:
				return nil, fmt.Errorf("unexpected key '%s' in '%s'", key, field)
			}
		}
		if kind == "env" && source.Env == "" {
			source.Env, source.FilePath = source.FilePath, ""
		}
		out = append(out, source)
	}
	return out, nil
}

// parseSSH reads --ssh.
func parseSSH(list []string) []sshprovider.AgentConfig {
	var out []sshprovider.AgentConfig
	for _, s := range list {
		if s == "" {
			continue
		}
		id, paths, given := strings.Cut(s, "=")
		agent := sshprovider.AgentConfig{ID: id}
		if given {
			agent.Paths = strings.Split(paths, ",")
		}
		out = append(out, agent)
	}
	return out
}

// parseContexts reads --build-context: what stands for an image's or a stage's name.
func parseContexts(list []string) (map[string]string, error) {
	out := map[string]string{}
	for _, s := range list {
		if s == "" {
			continue
		}
		name, where, ok := strings.Cut(s, "=")
		if !ok {
			return nil, fmt.Errorf("invalid context value: %s, expected key=value", s)
		}
		parsed, err := ref.Parse(name)
		if err != nil {
			return nil, fmt.Errorf("invalid context name %s: %w", name, err)
		}
		out[strings.TrimSuffix(parsed.Familiar(), ":latest")] = where
	}
	return out, nil
}

// parseAttests gives the front end's attributes for the statements asked for about the image.
func (o *options) parseAttests() (map[string]string, error) {
	list := append([]string{}, o.attests...)
	for _, short := range []struct{ kind, value string }{{"provenance", o.provenance}, {"sbom", o.sbom}} {
		if short.value == "" {
			continue
		}
		if on, err := strconv.ParseBool(short.value); err == nil {
			list = append(list, fmt.Sprintf("type=%s,disabled=%t", short.kind, !on))
		} else {
			list = append(list, "type="+short.kind+","+short.value)
		}
	}
	out := map[string]string{}
	seen := map[string]bool{}
	for _, s := range list {
		attrs, err := attributes(s)
		if err != nil {
			return nil, err
		}
		kind := attrs["type"]
		if kind == "" {
			return nil, errors.New("attestation type not specified")
		}
		if seen[kind] {
			return nil, fmt.Errorf("duplicate attestation field %s", kind)
		}
		seen[kind] = true
		off := false
		if v, ok := attrs["disabled"]; ok {
			if off, err = strconv.ParseBool(v); err != nil {
				return nil, fmt.Errorf("invalid value disabled=%s: %w", v, err)
			}
		}
		if !off {
			out["attest:"+kind] = s
		}
	}
	return out, nil
}

var annotationKind = regexp.MustCompile(`^([a-z-]+)(?:\[([A-Za-z0-9_/-]+)\])?$`)

// parseAnnotations reads --annotation, "[KIND[PLATFORM],…:]key=value", into attributes of an image exporter.
func parseAnnotations(list []string) (map[string]string, error) {
	out := map[string]string{}
	for _, s := range list {
		if s == "" {
			continue
		}
		key, val, ok := strings.Cut(s, "=")
		if !ok {
			return nil, fmt.Errorf("invalid annotation %q, expected key=value", s)
		}
		kinds, name, ok := strings.Cut(key, ":")
		if !ok {
			out[exptypes.AnnotationKey{Key: key}.String()] = val
			continue
		}
		for kind := range strings.SplitSeq(kinds, ",") {
			k, err := annotationKey(kind)
			if err != nil {
				return nil, err
			}
			k.Key = name
			out[k.String()] = val
		}
	}
	return out, nil
}

func annotationKey(kind string) (exptypes.AnnotationKey, error) {
	parts := annotationKind.FindStringSubmatch(kind)
	if parts == nil {
		return exptypes.AnnotationKey{}, fmt.Errorf("invalid annotation type %q, expected type and optional platform in square brackets", kind)
	}
	k := exptypes.AnnotationKey{Type: parts[1]}
	switch k.Type {
	case exptypes.AnnotationIndex, exptypes.AnnotationIndexDescriptor, exptypes.AnnotationManifest, exptypes.AnnotationManifestDescriptor:
	default:
		return k, fmt.Errorf("unknown annotation type %q", k.Type)
	}
	if parts[2] != "" {
		p, err := platforms.Parse(parts[2])
		if err != nil {
			return k, fmt.Errorf("invalid platform %q: %w", parts[2], err)
		}
		k.Platform = &p
	}
	return k, nil
}

// parsePlatforms reads --platform, whose values may hold several.
func parsePlatforms(list []string) (string, error) {
	var out []string
	for _, s := range list {
		for part := range strings.SplitSeq(s, ",") {
			part = strings.TrimSpace(part)
			if part == "local" {
				out = append(out, platforms.Format(platforms.Normalize(platforms.DefaultSpec())))
				continue
			}
			p, err := platforms.Parse(part)
			if err != nil {
				return "", err
			}
			out = append(out, platforms.Format(platforms.Normalize(p)))
		}
	}
	return strings.Join(out, ","), nil
}

func checkUlimit(s string) (string, error) {
	u, err := units.ParseUlimit(s)
	if err != nil {
		return "", err
	}
	return u.String(), nil
}
