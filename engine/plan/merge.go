// Package plan decides what is pure about a container's life: how image and request become settings, which
// settings are refused and in which words, when a container is started again, how healthy it is. It touches
// nothing but the paths a request names, so it is tested without root.
package plan

import (
	"maps"
	"path"
	"slices"
	"strings"

	ct "github.com/moby/moby/api/types/container"
	nt "github.com/moby/moby/api/types/network"
)

// Merge lays the request's config over the image's and returns a new one; both stay as they are. image may be nil.
func Merge(request, image *ct.Config) *ct.Config {
	c := *request
	if image == nil {
		image = &ct.Config{}
	}
	c.User = or(c.User, image.User)
	c.WorkingDir = or(c.WorkingDir, image.WorkingDir)
	c.StopSignal = or(c.StopSignal, image.StopSignal)
	c.ExposedPorts = union(image.ExposedPorts, c.ExposedPorts)
	c.Volumes = union(image.Volumes, c.Volumes)
	c.Labels = union(image.Labels, c.Labels)
	c.Env = mergeEnv(c.Env, image.Env)
	if len(c.Shell) == 0 {
		c.Shell = image.Shell
	}
	mergeCommand(&c, image)
	c.Healthcheck = mergeHealth(c.Healthcheck, image.Healthcheck)
	if c.WorkingDir != "" && path.IsAbs(c.WorkingDir) {
		c.WorkingDir = path.Clean(c.WorkingDir)
	}
	if c.Labels == nil {
		c.Labels = map[string]string{}
	}
	return &c
}

// mergeCommand: an entry point of the request's own also drops the image's arguments; [""] clears the entry point.
func mergeCommand(c, image *ct.Config) {
	if len(c.Entrypoint) == 0 {
		if len(c.Cmd) == 0 {
			c.Cmd = image.Cmd
		}
		if c.Entrypoint == nil {
			c.Entrypoint = image.Entrypoint
		}
	}
	if len(c.Entrypoint) == 1 && c.Entrypoint[0] == "" {
		c.Entrypoint = nil
	}
}

// mergeEnv keeps the request's entries in front and adds what only the image has. An entry without "=" hides the
// image's variable; it stays in the list, where the runtime document drops it.
func mergeEnv(request, image []string) []string {
	out := slices.Clone(request)
	for _, entry := range image {
		name, _, _ := strings.Cut(entry, "=")
		if !slices.ContainsFunc(request, func(e string) bool { n, _, _ := strings.Cut(e, "="); return n == name }) {
			out = append(out, entry)
		}
	}
	return out
}

// mergeHealth inherits field by field.
func mergeHealth(request, image *ct.HealthConfig) *ct.HealthConfig {
	if image == nil || request == nil {
		if request == nil {
			return image
		}
		return request
	}
	h := *request
	if len(h.Test) == 0 {
		h.Test = image.Test
	}
	h.Interval = or(h.Interval, image.Interval)
	h.Timeout = or(h.Timeout, image.Timeout)
	h.StartPeriod = or(h.StartPeriod, image.StartPeriod)
	h.StartInterval = or(h.StartInterval, image.StartInterval)
	h.Retries = or(h.Retries, image.Retries)
	return &h
}

// Command is the program and its arguments. ok is false where neither image nor request names one.
func Command(c *ct.Config) (program string, args []string, ok bool) {
	all := slices.Concat(c.Entrypoint, c.Cmd)
	if len(all) == 0 {
		return "", nil, false
	}
	return all[0], append([]string{}, all[1:]...), true
}

// Exposed adds every port that is bound to the ports that are exposed.
func Exposed(c *ct.Config, bindings nt.PortMap) nt.PortSet {
	out := maps.Clone(c.ExposedPorts)
	for p := range bindings {
		if out == nil {
			out = nt.PortSet{}
		}
		out[p] = struct{}{}
	}
	return out
}

func or[T comparable](a, b T) T {
	var zero T
	if a != zero {
		return a
	}
	return b
}

func union[K comparable, V any](below, above map[K]V) map[K]V {
	if len(below) == 0 {
		return above
	}
	out := maps.Clone(below)
	maps.Copy(out, above)
	return out
}
