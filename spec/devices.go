package spec

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	ct "github.com/moby/moby/api/types/container"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cove-containers/cove/sys"
)

// devices denies everything but the standard devices (which the runtime makes itself), then allows what was asked for.
func devices(s Settings, doc *specs.Spec) error {
	if s.HostConfig.Privileged {
		doc.Linux.Resources.Devices = []specs.LinuxDeviceCgroup{{Allow: true, Access: "rwm"}}
		if err := everyDevice(doc); err != nil {
			return err
		}
		return renamedDevices(doc, s.HostConfig.Devices)
	}
	doc.Linux.Resources.Devices = defaultDeviceRules()
	for _, m := range s.HostConfig.Devices {
		if err := addDevice(doc, m); err != nil {
			return err
		}
	}
	for _, text := range s.HostConfig.DeviceCgroupRules {
		rule, err := deviceRule(text)
		if err != nil {
			return err
		}
		doc.Linux.Resources.Devices = append(doc.Linux.Resources.Devices, rule)
	}
	return nil
}

// renamedDevices gives a privileged container, which has every device by the host's name and may use them all, those that were
// asked for by another name as well, in place of what else the host has by that name.
func renamedDevices(doc *specs.Spec, mappings []ct.DeviceMapping) error {
	for _, m := range mappings {
		if m.PathInContainer == "" || m.PathInContainer == m.PathOnHost {
			continue
		}
		m.CgroupPermissions = "rwm"
		host := doc.Linux.Devices
		doc.Linux.Devices = nil
		if err := addDevice(doc, m); err != nil {
			return err
		}
		host = slices.DeleteFunc(host, func(d specs.LinuxDevice) bool {
			return slices.ContainsFunc(doc.Linux.Devices, func(asked specs.LinuxDevice) bool { return asked.Path == d.Path })
		})
		doc.Linux.Devices = append(host, doc.Linux.Devices...)
	}
	return nil
}

// defaultDeviceRules: nodes may be made (mknod) but only the harmless ones opened.
func defaultDeviceRules() []specs.LinuxDeviceCgroup {
	rules := []specs.LinuxDeviceCgroup{
		{Allow: false, Access: "rwm"},
		{Allow: true, Type: "c", Access: "m"},
		{Allow: true, Type: "b", Access: "m"},
	}
	for _, d := range [][2]int64{
		{1, 3}, {1, 5}, {1, 7}, {1, 8}, {1, 9}, {5, 0}, {5, 1}, {5, 2}, // null zero full random urandom tty console ptmx
	} {
		rules = append(rules, specs.LinuxDeviceCgroup{Allow: true, Type: "c", Major: &d[0], Minor: &d[1], Access: "rwm"})
	}
	ptsMajor := int64(136)
	return append(rules, specs.LinuxDeviceCgroup{Allow: true, Type: "c", Major: &ptsMajor, Access: "rwm"})
}

// addDevice makes one mapping's node and rule; a directory maps every device in it.
func addDevice(doc *specs.Spec, m ct.DeviceMapping) error {
	inside, access := m.PathInContainer, m.CgroupPermissions
	if inside == "" {
		inside = m.PathOnHost
	}
	if access == "" {
		access = "rwm"
	}
	if !filepath.IsAbs(m.PathOnHost) { // else it would be looked for where the daemon happens to stand, an empty one be all of that
		return gatherError(m.PathOnHost, errors.New("not an absolute path"))
	}
	host, err := filepath.EvalSymlinks(m.PathOnHost)
	if err != nil {
		return gatherError(m.PathOnHost, err)
	}
	if info, err := os.Stat(host); err == nil && info.IsDir() {
		return filepath.WalkDir(host, func(p string, e fs.DirEntry, err error) error {
			if err != nil || e.Type()&fs.ModeDevice == 0 {
				return err
			}
			rel, err := filepath.Rel(host, p)
			if err != nil {
				return err
			}
			return node(doc, p, filepath.Join(inside, rel), access)
		})
	}
	return node(doc, host, inside, access)
}

func gatherError(path string, err error) error {
	var cause *fs.PathError
	if errors.As(err, &cause) {
		err = cause.Err
	}
	return errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("error gathering device information while adding custom device %q: %v", path, err))
}

func node(doc *specs.Spec, host, inside, access string) error {
	d, err := sys.DeviceAt(host)
	if errors.Is(err, errdefs.ErrInvalidArgument) {
		return gatherError(host, errors.New("not a device node"))
	}
	if err != nil {
		return gatherError(host, err)
	}
	addNode(doc, d, inside)
	doc.Linux.Resources.Devices = append(doc.Linux.Resources.Devices, specs.LinuxDeviceCgroup{
		Allow: true, Type: string(d.Kind), Major: &d.Major, Minor: &d.Minor, Access: access,
	})
	return nil
}

func addNode(doc *specs.Spec, d sys.Device, inside string) {
	mode := d.Mode
	doc.Linux.Devices = append(doc.Linux.Devices, specs.LinuxDevice{
		Path: inside, Type: string(d.Kind), Major: d.Major, Minor: d.Minor, FileMode: &mode, UID: &d.UID, GID: &d.GID,
	})
}

// everyDevice gives a privileged container the host's device nodes, but no terminals and none of what it mounts itself.
func everyDevice(doc *specs.Spec) error {
	skip := map[string]bool{"/dev/pts": true, "/dev/shm": true, "/dev/fd": true, "/dev/mqueue": true, "/dev/.udev": true, "/dev/console": true, "/dev/ptmx": true}
	return filepath.WalkDir("/dev", func(p string, e fs.DirEntry, err error) error {
		switch {
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			return err
		case err != nil:
			return nil
		case skip[p] && e.IsDir():
			return fs.SkipDir
		case skip[p] || e.Type()&fs.ModeDevice == 0:
			return nil
		}
		d, err := sys.DeviceAt(p)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("list devices: %w", err)
		}
		addNode(doc, d, p)
		return nil
	})
}

// deviceRule reads "c 1:* rwm".
func deviceRule(text string) (specs.LinuxDeviceCgroup, error) {
	bad := errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("invalid device cgroup rule format: '%s'", text))
	f := strings.Fields(text)
	if len(f) != 3 || !strings.Contains("abc", f[0]) || len(f[0]) != 1 || strings.Trim(f[2], "rwm") != "" || f[2] == "" {
		return specs.LinuxDeviceCgroup{}, bad
	}
	rule := specs.LinuxDeviceCgroup{Allow: true, Type: f[0], Access: f[2]}
	major, minor, ok := strings.Cut(f[1], ":")
	if !ok {
		return rule, bad
	}
	for _, n := range []struct {
		text string
		into **int64
	}{{major, &rule.Major}, {minor, &rule.Minor}} {
		if n.text == "*" {
			continue
		}
		v, err := strconv.ParseInt(n.text, 10, 64)
		if err != nil || v < 0 {
			return rule, bad
		}
		*n.into = &v
	}
	return rule, nil
}
