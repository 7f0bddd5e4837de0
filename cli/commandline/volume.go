package commandline

import (
	"slices"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/mount"
)

// volumes are what -v, --tmpfs and --volumes-from mount.
func (w *writer) volumes() {
	c, h := w.config, w.host
	w.options("-v", h.Binds...)
	anonymous := map[string]string{} // by destination
	for _, m := range w.container.Mounts {
		if m.Type == mount.TypeVolume {
			anonymous[m.Destination] = m.Name
		}
	}
	for _, path := range sorted(c.Volumes) {
		_, image := w.from.volumes[path]
		switch name := anonymous[path]; {
		case mounted(h.Binds, h.Mounts, path):
		case w.wishes.SameVolumes && name != "":
			w.option("-v", name+":"+path)
		case !image:
			w.option("-v", path)
		}
	}
	for _, path := range sorted(h.Tmpfs) {
		text := path
		if options := h.Tmpfs[path]; options != "" {
			text += ":" + options
		}
		w.option("--tmpfs", text)
	}
	w.options("--volumes-from", h.VolumesFrom...)
	w.option("--volume-driver", h.VolumeDriver)
}

// mounted tells whether something else than an anonymous volume lies at path.
func mounted(binds []string, mounts []mount.Mount, path string) bool {
	return slices.ContainsFunc(mounts, func(m mount.Mount) bool { return m.Target == path }) ||
		slices.ContainsFunc(binds, func(b string) bool {
			parts := strings.Split(b, ":")
			return len(parts) > 1 && parts[1] == path
		})
}

func (w *writer) mounts() {
	for _, m := range w.host.Mounts {
		fields := []string{"type=" + string(m.Type)}
		add := func(key, value string) {
			if value != "" {
				fields = append(fields, key+"="+value)
			}
		}
		on := func(key string, set bool) {
			if set {
				fields = append(fields, key)
			}
		}
		add("source", m.Source)
		add("target", m.Target)
		on("readonly", m.ReadOnly)
		add("consistency", string(m.Consistency))
		if b := m.BindOptions; b != nil {
			add("bind-propagation", string(b.Propagation))
			on("bind-recursive=disabled", b.NonRecursive)
			on("bind-recursive=writable", b.ReadOnlyNonRecursive)
			on("bind-recursive=readonly", b.ReadOnlyForceRecursive)
			on("bind-create-src", b.CreateMountpoint)
		}
		if v := m.VolumeOptions; v != nil {
			on("volume-nocopy", v.NoCopy)
			add("volume-subpath", v.Subpath)
			for _, key := range sorted(v.Labels) {
				add("volume-label", key+"="+v.Labels[key])
			}
			if d := v.DriverConfig; d != nil {
				add("volume-driver", d.Name)
				for _, key := range sorted(d.Options) {
					add("volume-opt", key+"="+d.Options[key])
				}
			}
		}
		if i := m.ImageOptions; i != nil {
			add("image-subpath", i.Subpath)
		}
		if t := m.TmpfsOptions; t != nil {
			if t.SizeBytes != 0 {
				add("tmpfs-size", size(t.SizeBytes))
			}
			if t.Mode != 0 {
				add("tmpfs-mode", strconv.FormatUint(uint64(t.Mode), 8))
			}
		}
		w.option("--mount", record(fields))
	}
}
