package plan

import (
	"os"
	"path"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	ct "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"

	"github.com/cove-containers/cove/container"
)

// Mount is one mount a container is to get, before its volume exists.
type Mount struct {
	container.Mount
	// CopyUp fills an empty volume from what the image has at the target.
	CopyUp bool
	// Labels and DriverOptions are for a volume that has to be made.
	Labels, DriverOptions map[string]string
}

// Mounts lists everything a container mounts: what it takes from others, -v, --mount, --tmpfs, and the volumes the
// image and the request name without a place: those are Anonymous and have no name yet. Two different mounts at
// one target are refused.
func Mounts(c *ct.Config, h *ct.HostConfig, inherited []container.Mount) ([]Mount, error) {
	l := list{driver: h.VolumeDriver, at: map[string]int{}}
	for _, raw := range h.Binds {
		m, err := parseBind(raw)
		if err != nil {
			return nil, err
		}
		if err := l.add(m); err != nil {
			return nil, err
		}
	}
	for _, spec := range h.Mounts {
		m, err := parseSpec(spec)
		if err != nil {
			return nil, err
		}
		if err := l.add(m); err != nil {
			return nil, err
		}
	}
	for target, options := range h.Tmpfs {
		m, err := parseTmpfs(target, options)
		if err != nil {
			return nil, err
		}
		if err := l.add(m); err != nil {
			return nil, err
		}
	}
	for _, m := range inherited {
		if !l.taken(m.Target) {
			l.put(Mount{Mount: m})
		}
	}
	for target := range c.Volumes {
		if err := l.addVolume(target); err != nil {
			return nil, err
		}
	}
	l.finish()
	slices.SortFunc(l.all, func(a, b Mount) int { return strings.Compare(a.Target, b.Target) })
	return l.all, nil
}

// list gathers mounts and keeps targets apart.
type list struct {
	all    []Mount
	at     map[string]int // target → index in all
	driver string
}

func (l *list) taken(target string) bool {
	_, taken := l.at[target]
	return taken
}

func (l *list) put(m Mount) {
	l.at[m.Target] = len(l.all)
	l.all = append(l.all, m)
}

// add refuses a second mount on one target, unless it is the very same one again.
func (l *list) add(m Mount) error {
	m.Target = path.Clean(m.Target)
	if !l.taken(m.Target) {
		l.put(m)
		return nil
	}
	other := l.all[l.at[m.Target]]
	if m.Type == mount.TypeBind && other.Type == m.Type && other.Source == m.Source && other.Mode == m.Mode && other.Spec == nil && m.Spec == nil {
		return nil
	}
	return invalid("Duplicate mount point: %s", m.Target)
}

// addVolume takes a volume without a name, unless something is mounted there already. Docker's client takes a
// volume's name of one letter for a drive and sends the whole -v as a target: that is read as it was meant.
func (l *list) addVolume(target string) error {
	if len(target) > 2 && target[1] == ':' && target[0] != '/' {
		m, err := parseBind(target)
		if err != nil {
			return err
		}
		return l.add(m)
	}
	target = path.Clean(target)
	if err := validTarget(target); err != nil {
		return invalid("invalid volume specification: '%s': %v", target, err)
	}
	if !l.taken(target) {
		l.put(Mount{Mount: container.Mount{Type: mount.TypeVolume, Target: target, RW: true, Anonymous: true}, CopyUp: true})
	}
	return nil
}

// finish gives every volume its driver and marks those without a name.
func (l *list) finish() {
	for i := range l.all {
		m := &l.all[i]
		if m.Type != mount.TypeVolume {
			continue
		}
		m.Driver = or(m.Driver, or(l.driver, "local"))
		m.Anonymous = m.Name == "" || m.Anonymous
	}
}

// parseBind reads the value of -v: [source:]target[:mode].
func parseBind(raw string) (Mount, error) {
	parts := strings.SplitN(raw, ":", 4)
	m := Mount{Mount: container.Mount{RW: true}, CopyUp: true}
	switch {
	case parts[0] == "" || len(parts) > 3:
		return m, invalid("invalid volume specification: '%s'", raw)
	case len(parts) == 1:
		m.Target = parts[0]
	case len(parts) == 2 && validMode(parts[1]):
		return m, invalid("invalid volume specification: '%s'", raw)
	default:
		m.Source, m.Target = parts[0], parts[1]
	}
	if len(parts) == 3 {
		m.Mode = parts[2]
		if !validMode(m.Mode) {
			return m, invalid("invalid mode: %v", m.Mode)
		}
	}
	if err := validTarget(m.Target); err != nil {
		return m, invalid("invalid volume specification: '%s': %v", raw, err)
	}
	if path.IsAbs(m.Source) {
		m.Type, m.Source, m.CopyUp = mount.TypeBind, path.Clean(m.Source), false
		m.Propagation = mount.PropagationRPrivate
	} else {
		m.Type, m.Name, m.Source = mount.TypeVolume, m.Source, ""
		if m.Mode == "" {
			m.Mode = "z"
		}
	}
	return m, applyMode(&m)
}

var propagations = []string{"private", "rprivate", "shared", "rshared", "slave", "rslave"}

// validMode accepts each kind of flag once: access, label, copy, consistency and propagation.
func validMode(mode string) bool {
	kinds := map[string]string{
		"rw": "access", "ro": "access", "z": "label", "Z": "label", "nocopy": "copy",
		"consistent": "consistency", "cached": "consistency", "delegated": "consistency", "default": "consistency",
	}
	for _, p := range propagations {
		kinds[p] = "propagation"
	}
	seen := map[string]bool{}
	for flag := range strings.SplitSeq(mode, ",") {
		kind := kinds[flag]
		if kind == "" || seen[kind] {
			return false
		}
		seen[kind] = true
	}
	return true
}

func applyMode(m *Mount) error {
	for flag := range strings.SplitSeq(m.Mode, ",") {
		switch {
		case flag == "ro":
			m.RW = false
		case flag == "nocopy" && m.Type == mount.TypeBind:
			return invalid("invalid volume specification: '%s:%s:%s': invalid mount config for type \"bind\": field VolumeOptions must not be specified", m.Source, m.Target, m.Mode)
		case flag == "nocopy":
			m.CopyUp = false
		case slices.Contains(propagations, flag) && m.Type != mount.TypeBind:
			return invalid("invalid mode: %v", m.Mode)
		case slices.Contains(propagations, flag):
			m.Propagation = mount.Propagation(flag)
		}
	}
	return nil
}

// reason is an error whose words become part of a longer sentence.
type reason string

// Error is the words.
func (r reason) Error() string { return string(r) }

func validTarget(target string) error {
	switch {
	case target == "":
		return reason("field Target must not be empty")
	case !path.IsAbs(target):
		return reason("invalid mount path: '" + target + "' mount path must be absolute")
	case path.Clean(target) == "/":
		return reason("invalid specification: destination can't be '/'")
	}
	return nil
}

// parseSpec reads one --mount.
func parseSpec(s mount.Mount) (Mount, error) {
	if err := checkSpec(s); err != nil {
		return Mount{}, invalid("invalid mount config for type %q: %v", s.Type, err)
	}
	if s.Type == mount.TypeCluster || s.Type == mount.TypeNamedPipe {
		return Mount{}, errdefs.ErrNotImplemented.WithMessage("mounts of type \"" + string(s.Type) + "\" are not supported")
	}
	m := Mount{Mount: container.Mount{Type: s.Type, Target: s.Target, RW: !s.ReadOnly, Spec: &s}}
	switch s.Type {
	case mount.TypeBind:
		m.Source, m.Propagation = path.Clean(s.Source), mount.PropagationRPrivate
		if s.BindOptions != nil {
			m.Propagation = or(s.BindOptions.Propagation, m.Propagation)
		}
	case mount.TypeImage:
		m.Source, m.RW = s.Source, false
	case mount.TypeVolume:
		m.Name, m.Mode, m.CopyUp = s.Source, "z", true
		if o := s.VolumeOptions; o != nil {
			m.CopyUp, m.Labels = !o.NoCopy, o.Labels
			if o.DriverConfig != nil {
				m.Driver, m.DriverOptions = o.DriverConfig.Name, o.DriverConfig.Options
			}
		}
	}
	return m, nil
}

func checkSpec(s mount.Mount) error {
	if err := validTarget(s.Target); err != nil {
		return err
	}
	for _, extra := range []struct {
		name  string
		given bool
		of    mount.Type
	}{
		{"BindOptions", s.BindOptions != nil, mount.TypeBind}, {"VolumeOptions", s.VolumeOptions != nil, mount.TypeVolume},
		{"TmpfsOptions", s.TmpfsOptions != nil, mount.TypeTmpfs}, {"ImageOptions", s.ImageOptions != nil, mount.TypeImage},
	} {
		if extra.given && extra.of != s.Type {
			return reason("field " + extra.name + " must not be specified")
		}
	}
	switch s.Type {
	case mount.TypeBind:
		return checkBind(s)
	case mount.TypeVolume:
		return checkVolume(s)
	case mount.TypeTmpfs:
		if s.Source != "" {
			return reason("field Source must not be specified")
		}
		_, err := TmpfsOptions(s.TmpfsOptions, s.ReadOnly)
		return err
	case mount.TypeImage:
		return checkImage(s)
	case mount.TypeCluster, mount.TypeNamedPipe:
		return nil
	}
	return reason("mount type unknown")
}

func checkBind(s mount.Mount) error {
	switch {
	case s.Source == "":
		return reason("field Source must not be empty")
	case !path.IsAbs(s.Source):
		return reason("invalid mount path: '" + s.Source + "' mount path must be absolute")
	}
	o := s.BindOptions
	if o == nil {
		o = &mount.BindOptions{}
	}
	switch {
	case o.Propagation != "" && !slices.Contains(mount.Propagations, o.Propagation):
		return reason("invalid propagation mode: " + string(o.Propagation))
	case !s.ReadOnly && o.ReadOnlyNonRecursive:
		return reason("mount options conflict: !ReadOnly && BindOptions.ReadOnlyNonRecursive")
	case !s.ReadOnly && o.ReadOnlyForceRecursive:
		return reason("mount options conflict: !ReadOnly && BindOptions.ReadOnlyForceRecursive")
	case o.ReadOnlyNonRecursive && o.ReadOnlyForceRecursive:
		return reason("mount options conflict: ReadOnlyNonRecursive && BindOptions.ReadOnlyForceRecursive")
	case o.CreateMountpoint:
		return nil
	}
	if _, err := os.Stat(s.Source); os.IsNotExist(err) {
		return reason("bind source path does not exist: " + s.Source)
	}
	return nil
}

func checkVolume(s mount.Mount) error {
	if s.Source == "" && s.ReadOnly {
		return reason("must not set ReadOnly mode when using anonymous volumes")
	}
	if s.VolumeOptions == nil || s.VolumeOptions.Subpath == "" {
		return nil
	}
	if s.Source == "" {
		return reason("must not set Subpath when using anonymous volumes")
	}
	if !inside(s.VolumeOptions.Subpath) {
		return reason("subpath must be a relative path within the volume")
	}
	return nil
}

func checkImage(s mount.Mount) error {
	switch {
	case s.Source == "":
		return reason("field Source must not be empty")
	case s.ImageOptions != nil && s.ImageOptions.Subpath != "" && !inside(s.ImageOptions.Subpath):
		return reason("subpath must be a relative path within the image")
	}
	return nil
}

func inside(subpath string) bool {
	clean := path.Clean(subpath)
	return !path.IsAbs(clean) && clean != ".." && !strings.HasPrefix(clean, "../")
}

// VolumesFrom reads a value of --volumes-from: a container and, after a colon, rw or ro.
func VolumesFrom(value string) (ref string, readOnly bool, err error) {
	ref, mode, _ := strings.Cut(value, ":")
	switch {
	case ref == "":
		return "", false, invalid("volumes-from specification cannot be an empty string")
	case mode != "" && !validMode(mode) || strings.Contains(mode, "nocopy"):
		return "", false, invalid("invalid mode: %v", mode)
	}
	return ref, slices.Contains(strings.Split(mode, ","), "ro"), nil
}
