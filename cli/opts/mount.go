package opts

import (
	"encoding/csv"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/mount"
)

// ParseMount reads a value of --mount.
func ParseMount(spec string) (mount.Mount, error) {
	m := mount.Mount{Type: mount.TypeVolume}
	if spec = strings.TrimSpace(spec); spec == "" {
		return m, errors.New("value is empty")
	}
	fields, err := csv.NewReader(strings.NewReader(spec)).Read()
	if err != nil {
		return m, err
	}
	for _, field := range fields {
		key, val, given := strings.Cut(field, "=")
		if err := mountOption(&m, strings.ToLower(key), val, given, field); err != nil {
			return m, err
		}
	}
	return m, checkMount(&m)
}

func mountOption(m *mount.Mount, key, val string, given bool, field string) (err error) {
	switch key {
	case "readonly", "ro":
		m.ReadOnly, err = yes(key, val, given)
		return err
	case "volume-nocopy":
		volumeOptions(m).NoCopy, err = yes(key, val, given)
		return err
	case "bind-create-src":
		bindOptions(m).CreateMountpoint, err = yes(key, val, given)
		return err
	case "bind-nonrecursive":
		return errors.New("bind-nonrecursive is deprecated, use bind-recursive=disabled instead")
	}
	if !given {
		return fmt.Errorf("invalid field '%s' must be a key=value pair", field)
	}
	switch key {
	case "type":
		m.Type = mount.Type(strings.ToLower(val))
	case "source", "src":
		m.Source = fromHere(val)
	case "target", "dst", "destination":
		m.Target = val
	case "consistency":
		m.Consistency = mount.Consistency(strings.ToLower(val))
	default:
		return kindOption(m, key, val, field)
	}
	return nil
}

// kindOption reads an option that only one type of mount has.
func kindOption(m *mount.Mount, key, val, field string) error {
	switch key {
	case "bind-propagation":
		bindOptions(m).Propagation = mount.Propagation(strings.ToLower(val))
	case "bind-recursive":
		return bindRecursive(m, key, val)
	case "volume-subpath":
		volumeOptions(m).Subpath = val
	case "volume-label":
		o := volumeOptions(m)
		o.Labels = withPair(o.Labels, val)
	case "volume-driver":
		volumeDriver(m).Name = val
	case "volume-opt":
		d := volumeDriver(m)
		d.Options = withPair(d.Options, val)
	case "image-subpath":
		if m.ImageOptions == nil {
			m.ImageOptions = &mount.ImageOptions{}
		}
		m.ImageOptions.Subpath = val
	case "tmpfs-size":
		size, err := units.RAMInBytes(val)
		if err != nil {
			return fmt.Errorf("invalid value for %s: %s", key, val)
		}
		tmpfsOptions(m).SizeBytes = size
	case "tmpfs-mode":
		mode, err := strconv.ParseUint(val, 8, 32)
		if err != nil {
			return fmt.Errorf("invalid value for %s: %s", key, val)
		}
		tmpfsOptions(m).Mode = os.FileMode(mode)
	default:
		return fmt.Errorf("unexpected key '%s' in '%s'", key, field)
	}
	return nil
}

func bindRecursive(m *mount.Mount, key, val string) error {
	switch val {
	case "enabled":
	case "disabled":
		bindOptions(m).NonRecursive = true
	case "writable":
		bindOptions(m).ReadOnlyNonRecursive = true
	case "readonly":
		bindOptions(m).ReadOnlyForceRecursive = true
	default:
		return fmt.Errorf(`invalid value for %s: %s (must be "enabled", "disabled", "writable", or "readonly")`, key, val)
	}
	return nil
}

func checkMount(m *mount.Mount) error {
	if m.Type == "" {
		return errors.New("type is required")
	}
	if m.Target == "" {
		return errors.New("target is required")
	}
	for _, mix := range []struct {
		wrong bool
		kind  string
	}{
		{m.Type != mount.TypeBind && m.BindOptions != nil, "bind"},
		{m.Type != mount.TypeVolume && m.VolumeOptions != nil, "volume"},
		{m.Type != mount.TypeImage && m.ImageOptions != nil, "image"},
		{m.Type != mount.TypeTmpfs && m.TmpfsOptions != nil, "tmpfs"},
	} {
		if mix.wrong {
			return fmt.Errorf("cannot mix '%s-*' options with mount type '%s'", mix.kind, m.Type)
		}
	}
	b := m.BindOptions
	switch {
	case b == nil:
	case b.ReadOnlyNonRecursive && !m.ReadOnly:
		return errors.New("option 'bind-recursive=writable' requires 'readonly' to be specified in conjunction")
	case b.ReadOnlyForceRecursive && !m.ReadOnly:
		return errors.New("option 'bind-recursive=readonly' requires 'readonly' to be specified in conjunction")
	case b.ReadOnlyForceRecursive && b.Propagation != mount.PropagationRPrivate:
		return errors.New("option 'bind-recursive=readonly' requires 'bind-propagation=rprivate' to be specified in conjunction")
	}
	return nil
}

// yes reads a switch that is on when it has no value.
func yes(key, val string, given bool) (bool, error) {
	if !given {
		return true, nil
	}
	on, err := strconv.ParseBool(val)
	if err != nil {
		return false, fmt.Errorf("invalid value for %s: %s", key, val)
	}
	return on, nil
}

// fromHere makes "./x" and "../x" absolute; anything else stays.
func fromHere(path string) string {
	if strings.HasPrefix(path, ".") {
		if abs, err := filepath.Abs(path); err == nil {
			return abs
		}
	}
	return path
}

func bindOptions(m *mount.Mount) *mount.BindOptions {
	if m.BindOptions == nil {
		m.BindOptions = &mount.BindOptions{}
	}
	return m.BindOptions
}

func volumeOptions(m *mount.Mount) *mount.VolumeOptions {
	if m.VolumeOptions == nil {
		m.VolumeOptions = &mount.VolumeOptions{}
	}
	return m.VolumeOptions
}

func volumeDriver(m *mount.Mount) *mount.Driver {
	o := volumeOptions(m)
	if o.DriverConfig == nil {
		o.DriverConfig = &mount.Driver{}
	}
	return o.DriverConfig
}

func tmpfsOptions(m *mount.Mount) *mount.TmpfsOptions {
	if m.TmpfsOptions == nil {
		m.TmpfsOptions = &mount.TmpfsOptions{}
	}
	return m.TmpfsOptions
}

func withPair(m map[string]string, pair string) map[string]string {
	key, val, _ := strings.Cut(pair, "=")
	if key == "" {
		return m
	}
	if m == nil {
		m = map[string]string{}
	}
	m[key] = val
	return m
}
