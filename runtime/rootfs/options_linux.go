package rootfs

import (
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// options is what the words of a mount's option list come to.
type options struct {
	bind, recursive bool
	// copyUp fills a new file system with what it hides.
	copyUp bool
	// mapped shows a bind's files as belonging to others, or those of an overlay's layers; mappedBelow those of the mounts
	// below, too. mayMap leaves them as they are where that cannot be.
	mapped, mappedBelow, mayMap bool
	// subpath is the part of a bind's source to show, looked up inside the source.
	subpath string
	// own are the attributes of the mount itself, below those of it and all mounts below it.
	own, below unix.MountAttr
	// propagations are applied in the order given.
	propagations []propagationOption
	// data goes to the file system.
	data []parameter
}

type propagationOption struct {
	kind      uint64
	recursive bool
}

// parameter is one setting of a file system; a flag has no value.
type parameter struct {
	key, value string
	flag       bool
}

// attribute is what one word does to a mount.
type attribute struct{ set, clear uint64 }

// attributes by word; with an "r" before it a word counts for the mounts below, too.
var attributes = map[string]attribute{
	"ro": {set: unix.MOUNT_ATTR_RDONLY}, "rw": {clear: unix.MOUNT_ATTR_RDONLY},
	"nosuid": {set: unix.MOUNT_ATTR_NOSUID}, "suid": {clear: unix.MOUNT_ATTR_NOSUID},
	"nodev": {set: unix.MOUNT_ATTR_NODEV}, "dev": {clear: unix.MOUNT_ATTR_NODEV},
	"noexec": {set: unix.MOUNT_ATTR_NOEXEC}, "exec": {clear: unix.MOUNT_ATTR_NOEXEC},
	"nodiratime": {set: unix.MOUNT_ATTR_NODIRATIME}, "diratime": {clear: unix.MOUNT_ATTR_NODIRATIME},
	"nosymfollow": {set: unix.MOUNT_ATTR_NOSYMFOLLOW}, "symfollow": {clear: unix.MOUNT_ATTR_NOSYMFOLLOW},
	"noatime":  {set: unix.MOUNT_ATTR_NOATIME, clear: unix.MOUNT_ATTR__ATIME},
	"relatime": {clear: unix.MOUNT_ATTR__ATIME}, "atime": {clear: unix.MOUNT_ATTR__ATIME},
	"norelatime": {clear: unix.MOUNT_ATTR__ATIME}, "nostrictatime": {clear: unix.MOUNT_ATTR__ATIME},
	"strictatime": {set: unix.MOUNT_ATTR_STRICTATIME, clear: unix.MOUNT_ATTR__ATIME},
}

// propagation reads one of the names of mount propagation.
func propagation(name string) (kind uint64, recursive, known bool) {
	recursive = strings.HasPrefix(name, "r")
	switch strings.TrimPrefix(name, "r") {
	case "private":
		return unix.MS_PRIVATE, recursive, true
	case "slave":
		return unix.MS_SLAVE, recursive, true
	case "shared":
		return unix.MS_SHARED, recursive, true
	case "unbindable":
		return unix.MS_UNBINDABLE, recursive, true
	}
	return 0, false, false
}

// parseOptions sorts a mount's options; what is neither an attribute nor propagation is the file system's.
func parseOptions(kind string, words []string) (options, error) {
	o := options{bind: kind == "bind", recursive: kind == "rbind"}
	o.bind = o.bind || o.recursive
	for _, w := range words {
		if kind, recursive, known := propagation(w); known {
			o.propagations = append(o.propagations, propagationOption{kind, recursive})
			continue
		}
		if a, known := attributes[w]; known {
			apply(&o.own, a)
			continue
		}
		if a, known := attributes[strings.TrimPrefix(w, "r")]; known {
			apply(&o.below, a)
			continue
		}
		switch key, value, hasValue := strings.Cut(w, "="); {
		case w == "" || w == "defaults" || w == "notmpcopyup":
		case w == "bind":
			o.bind = true
		case w == "rbind":
			o.bind, o.recursive = true, true
		case w == "tmpcopyup":
			o.copyUp = true
		case key == "x-cove.subpath":
			o.subpath = value
		case w == "idmap" || w == "ridmap":
			o.mapped, o.mappedBelow = true, w == "ridmap"
		case w == "x-cove.mayidmap":
			o.mapped, o.mayMap = true, true
		default:
			o.data = append(o.data, parameter{key, value, !hasValue})
		}
	}
	if o.mapped && !o.bind && kind != "overlay" {
		return o, fmt.Errorf("only binds can map users and groups: %w", errdefs.ErrInvalidArgument)
	}
	if o.bind && len(o.propagations) == 0 {
		o.propagations = []propagationOption{{unix.MS_PRIVATE, true}}
	}
	return o, nil
}

// shares tells whether the mount shall have further mounts in common with others.
func (o *options) shares() bool {
	for _, p := range o.propagations {
		if p.kind == unix.MS_SHARED {
			return true
		}
	}
	return false
}

// apply lets the later of two contrary words win.
func apply(m *unix.MountAttr, a attribute) {
	m.Attr_set = m.Attr_set&^a.clear | a.set
	m.Attr_clr = m.Attr_clr&^(a.set&^unix.MOUNT_ATTR__ATIME) | a.clear
}

func isZero(m unix.MountAttr) bool { return m.Attr_set == 0 && m.Attr_clr == 0 }

// OptionNames lists the words understood here, sorted.
func OptionNames() []string {
	all := []string{"bind", "rbind", "idmap", "ridmap", "tmpcopyup"}
	for w := range attributes {
		all = append(all, w, "r"+w)
	}
	for _, kind := range []string{"private", "slave", "shared", "unbindable"} {
		all = append(all, kind, "r"+kind)
	}
	slices.Sort(all)
	return all
}
