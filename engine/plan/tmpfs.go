package plan

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/mount"

	"github.com/cove-containers/cove/container"
)

// opposites are tmpfs flags in pairs; the last of a pair that is given wins over the default.
var opposites = [][2]string{
	{"exec", "noexec"}, {"suid", "nosuid"}, {"dev", "nodev"}, {"rw", "ro"}, {"atime", "noatime"}, {"diratime", "nodiratime"},
	{"relatime", "norelatime"}, {"strictatime", "nostrictatime"}, {"sync", "async"},
}

// tmpfsValues are the settings of a tmpfs that take a value.
var tmpfsValues = []string{"size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol", "huge"}

// parseTmpfs reads one --tmpfs.
func parseTmpfs(target, options string) (Mount, error) {
	if err := validTarget(target); err != nil {
		return Mount{}, invalid("%v", err)
	}
	if _, err := FlagOptions(options); err != nil {
		return Mount{}, invalid("%v", err)
	}
	return Mount{Mount: container.Mount{
		Type: mount.TypeTmpfs, Target: target, RW: true, Options: options, FromTmpfs: true,
	}}, nil
}

// FlagOptions lays the options of a --tmpfs over the defaults rw, noexec, nosuid and nodev.
func FlagOptions(options string) ([]string, error) {
	out := []string{"noexec", "nosuid", "nodev"}
	for o := range strings.SplitSeq(options, ",") {
		if o == "" || o == "defaults" {
			continue
		}
		if name, _, valued := strings.Cut(o, "="); valued {
			if !slices.Contains(tmpfsValues, name) {
				return nil, reason(fmt.Sprintf("invalid tmpfs option %q", strings.SplitN(o, "=", 2)))
			}
			out = append(slices.DeleteFunc(out, func(e string) bool { return strings.HasPrefix(e, name+"=") }), o)
			continue
		}
		if slices.Contains(propagations, o) {
			continue
		}
		i := slices.IndexFunc(opposites, func(p [2]string) bool { return p[0] == o || p[1] == o })
		if i < 0 {
			return nil, reason(fmt.Sprintf("invalid tmpfs option %q", strings.SplitN(o, "=", 2)))
		}
		out = slices.DeleteFunc(out, func(e string) bool { return e == opposites[i][0] || e == opposites[i][1] })
		out = append(out, o)
	}
	return out, nil
}

// TmpfsOptions are the options of a --mount type=tmpfs.
func TmpfsOptions(o *mount.TmpfsOptions, readOnly bool) ([]string, error) {
	if o == nil {
		o = &mount.TmpfsOptions{}
	}
	var text []string
	for _, option := range o.Options {
		switch len(option) {
		case 1:
			text = append(text, option[0])
		case 2:
			text = append(text, option[0]+"="+option[1])
		default:
			return nil, reason("invalid option array length")
		}
	}
	if o.SizeBytes < 0 {
		return nil, reason("invalid tmpfs size: " + strconv.FormatInt(o.SizeBytes, 10))
	}
	if o.SizeBytes > 0 {
		text = append(text, "size="+strconv.FormatInt(o.SizeBytes, 10))
	}
	if o.Mode != 0 {
		text = append(text, fmt.Sprintf("mode=%o", uint32(o.Mode)))
	}
	if readOnly {
		text = append(text, "ro")
	}
	return FlagOptions(strings.Join(text, ","))
}
