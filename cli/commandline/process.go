package commandline

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cove-containers/cove/api"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
)

// settings are those of the image; a container has them without being told.
type settings struct {
	env, command, entrypoint  []string
	user, workdir, stopSignal string
	labels                    map[string]string
	volumes, ports            map[string]struct{}
	health                    *container.HealthConfig
}

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// image names the image and notes what a container of it has by itself.
func (w *writer) image() {
	w.line.Image = w.config.Image
	img := w.known.Image
	if img == nil {
		w.note("the image " + w.container.Image + " is gone: what came from it is written out")
		return
	}
	if w.wishes.Pin || w.line.Image == "" {
		w.line.Image = w.container.Image
	}
	if d := w.container.ImageManifestDescriptor; d != nil && d.Platform != nil && d.Platform.Architecture != img.Architecture {
		platform := d.Platform.OS + "/" + d.Platform.Architecture
		if d.Platform.Variant != "" {
			platform += "/" + d.Platform.Variant
		}
		w.option("--platform", platform)
	}
	if c := img.Config; c != nil {
		w.from = settings{
			env: c.Env, command: c.Cmd, entrypoint: c.Entrypoint, user: c.User, workdir: c.WorkingDir, stopSignal: c.StopSignal,
			labels: c.Labels, volumes: c.Volumes, ports: map[string]struct{}{}, health: c.Healthcheck,
		}
		for text := range c.ExposedPorts {
			if ports, err := network.ParsePortRange(text); err == nil {
				for p := range ports.All() {
					w.from.ports[p.String()] = struct{}{}
				}
			}
		}
	}
}

// life is the container's name, what it is attached to, and when it ends.
func (w *writer) life() {
	c, h := w.config, w.host
	w.option("--name", strings.TrimPrefix(w.container.Name, "/"))
	letters := ""
	switch {
	case !c.AttachStdin && !c.AttachStdout && !c.AttachStderr:
		letters = "d"
	case !c.AttachStdout || !c.AttachStderr || c.AttachStdin != c.OpenStdin:
		for _, stream := range []struct {
			name string
			on   bool
		}{{"stdin", c.AttachStdin}, {"stdout", c.AttachStdout}, {"stderr", c.AttachStderr}} {
			if stream.on {
				w.option("-a", stream.name)
			}
		}
	}
	if c.OpenStdin {
		letters += "i"
	}
	if c.Tty {
		letters += "t"
	}
	w.flag("-"+letters, letters != "")
	w.flag("--rm", h.AutoRemove)
	if policy := h.RestartPolicy; !policy.IsNone() {
		text := string(policy.Name)
		if policy.MaximumRetryCount > 0 {
			text += ":" + strconv.Itoa(policy.MaximumRetryCount)
		}
		w.option("--restart", text)
	}
	if h.Init != nil {
		w.flag("--init", *h.Init)
		w.flag("--init=false", !*h.Init)
	}
	if h.Runtime != w.known.Daemon.DefaultRuntime {
		w.option("--runtime", h.Runtime)
	}
	if c.StopSignal != w.from.stopSignal {
		w.option("--stop-signal", c.StopSignal)
	}
	if c.StopTimeout != nil {
		w.option("--stop-timeout", strconv.Itoa(*c.StopTimeout))
	}
}

// user is who runs where, and with which environment and labels.
func (w *writer) user() {
	c := w.config
	if c.User != w.from.user {
		w.option("--user", c.User)
	}
	w.options("--group-add", w.host.GroupAdd...)
	if c.WorkingDir != w.from.workdir {
		w.option("--workdir", c.WorkingDir)
	}
	for _, entry := range c.Env {
		if !slices.Contains(w.from.env, entry) {
			w.option("-e", entry)
		}
	}
	for _, key := range sorted(c.Labels) {
		if old, ok := w.from.labels[key]; !ok || old != c.Labels[key] {
			w.option("--label", key+"="+c.Labels[key])
		}
	}
	annotations := maps.Clone(w.host.Annotations)
	if from := annotations[api.PublishFrom]; from != "" && !w.wishes.Docker {
		w.options("--publish-from", strings.Split(from, ",")...)
		delete(annotations, api.PublishFrom)
	}
	w.pairs("--annotation", annotations)
	if w.host.Umask != nil {
		w.note("no option sets the umask (" + strconv.FormatUint(uint64(*w.host.Umask), 8) + ")")
	}
}

// command is what runs. An entry point of the command line drops the image's arguments, and can be but one word: the
// others move to the arguments, which makes the same process.
func (w *writer) command() {
	c := w.config
	sameEntry := slices.Equal(c.Entrypoint, w.from.entrypoint)
	switch {
	case sameEntry && slices.Equal(c.Cmd, w.from.command):
	case sameEntry && len(c.Cmd) > 0:
		w.line.Command = c.Cmd
	case len(c.Entrypoint) == 0:
		w.line.Options = append(w.line.Options, []string{"--entrypoint", ""})
		w.line.Command = c.Cmd
	default:
		w.option("--entrypoint", c.Entrypoint[0])
		w.line.Command = slices.Concat(c.Entrypoint[1:], c.Cmd)
	}
}

// health is the check, as far as it is not the image's.
func (w *writer) health() {
	h, from := w.config.Healthcheck, w.from.health
	if h == nil {
		return
	}
	if from == nil {
		from = &container.HealthConfig{}
	}
	if len(h.Test) == 1 && h.Test[0] == "NONE" {
		w.flag("--no-healthcheck", !slices.Equal(h.Test, from.Test))
		return
	}
	if !slices.Equal(h.Test, from.Test) && len(h.Test) > 1 {
		switch h.Test[0] {
		case "CMD-SHELL":
			w.option("--health-cmd", strings.Join(h.Test[1:], " "))
		case "CMD":
			w.option("--health-cmd", Quote(h.Test[1:]))
			w.note("the health check runs in a shell: no option sets a check without one")
		}
	}
	for _, d := range []struct {
		name      string
		now, from time.Duration
	}{
		{"--health-interval", h.Interval, from.Interval}, {"--health-timeout", h.Timeout, from.Timeout},
		{"--health-start-period", h.StartPeriod, from.StartPeriod}, {"--health-start-interval", h.StartInterval, from.StartInterval},
	} {
		if d.now != d.from && d.now != 0 {
			w.option(d.name, d.now.String())
		}
	}
	if h.Retries != from.Retries && h.Retries != 0 {
		w.option("--health-retries", strconv.Itoa(h.Retries))
	}
}

// logging is the driver, where it is not the daemon's, and its options.
func (w *writer) logging() {
	l := w.host.LogConfig
	if l.Type != w.known.Daemon.LoggingDriver {
		w.option("--log-driver", l.Type)
	}
	w.pairs("--log-opt", l.Config)
}

// namespaces are those that are not the container's own.
func (w *writer) namespaces() {
	h := w.host
	if !h.IpcMode.IsPrivate() {
		w.option("--ipc", string(h.IpcMode))
	}
	w.option("--pid", string(h.PidMode))
	w.option("--uts", string(h.UTSMode))
	w.option("--userns", string(h.UsernsMode))
	if usual := h.CgroupnsMode == "" || h.CgroupnsMode.IsPrivate() != (w.known.Daemon.CgroupVersion == "1"); !usual {
		w.option("--cgroupns", string(h.CgroupnsMode))
	}
	w.option("--cgroup-parent", h.CgroupParent)
	w.pairs("--sysctl", h.Sysctls)
}
