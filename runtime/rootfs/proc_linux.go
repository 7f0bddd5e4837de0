package rootfs

import "os"

// Proc is a proc file system that the container's first process mounts, because only a process in a pid namespace
// can mount that namespace's proc.
type Proc struct {
	// Target is the folder to attach it to.
	Target *os.File
	// Attributes are those of fsmount(2).
	Attributes uint64
	// Options are the file system's own, each "key=value" or "flag".
	Options [][2]string
}

// Procs lists the proc file systems to be mounted from inside.
func (r *Root) Procs() []Proc {
	var all []Proc
	for _, m := range r.mounts {
		if m.target == nil {
			continue
		}
		p := Proc{Target: m.target, Attributes: m.options.own.Attr_set | m.options.below.Attr_set}
		for _, d := range m.options.data {
			p.Options = append(p.Options, [2]string{d.key, d.value})
		}
		all = append(all, p)
	}
	return all
}

func (r *Root) openProcTargets() error {
	for _, m := range r.mounts {
		if m.Type != "proc" || m.options.bind || !m.late {
			continue
		}
		var err error
		if m.target, err = r.target(m.Destination, true, true); err != nil {
			return m.failed(err)
		}
	}
	return nil
}
