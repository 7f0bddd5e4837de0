package rootfs

import "os"

// Filesystem is one that the container's first process makes, because only a process in a pid namespace can make that
// namespace's proc, and because a file system belongs to the user namespace of whoever makes it.
type Filesystem struct {
	Kind, Source, Destination string
	// Attributes are those of fsmount(2).
	Attributes uint64
	// Options are the file system's own.
	Options []Option
	mount   *mount
}

// Option is one setting of a file system; a flag has no value.
type Option struct {
	Key, Value string
	Flag       bool
}

// Inside lists the file systems to be made inside, in the order of the document.
func (r *Root) Inside() []Filesystem {
	var all []Filesystem
	for _, m := range r.mounts {
		if !m.inside {
			continue
		}
		f := Filesystem{
			Kind: m.Type, Source: m.Source, Destination: m.Destination, mount: m,
			Attributes: m.options.own.Attr_set | m.options.below.Attr_set,
		}
		for _, d := range m.options.data {
			f.Options = append(f.Options, Option{d.key, d.value, d.flag})
		}
		all = append(all, f)
	}
	return all
}

// Deliver takes the mount that was made.
func (f Filesystem) Deliver(made *os.File) { f.mount.source = made }
