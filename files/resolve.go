package files

import (
	"errors"
	"io/fs"
	"path"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/cove-containers/cove/sys"
)

// maxLinks is how many links a path may lead through, as in the kernel.
const maxLinks = 40

// absolute is a path in a container as the API means it: from the root, without dots, but with the slash or dot at its
// end that tells a directory itself from a link to it.
func absolute(p string) string {
	whole := strings.TrimSuffix(path.Clean("/"+p), "/") + lastDot(p)
	if whole == "" {
		return "/"
	}
	return whole
}

// lastDot is what p ends with of "/" and "/.".
func lastDot(p string) string {
	switch {
	case p == "." || strings.HasSuffix(p, "/."):
		return "/."
	case strings.HasSuffix(p, "/"):
		return "/"
	}
	return ""
}

// resolve follows all links of an absolute path, also the last, as far as they lead to something: what is missing
// afterwards is taken as it is written.
func (v *view) resolve(p string) (string, error) {
	done, left := "/", strings.Split(p, "/")
	for links := 0; len(left) > 0; {
		name := left[0]
		left = left[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			done = path.Dir(done)
			continue
		}
		next := path.Join(done, name)
		target, err := v.readlink(next)
		if err != nil {
			return "", err
		}
		if target == "" {
			done = next
			continue
		}
		if links++; links > maxLinks {
			return "", errdefs.ErrInvalidArgument.WithMessage("too many links in " + p)
		}
		if strings.HasPrefix(target, "/") {
			done = "/"
		}
		left = append(strings.Split(target, "/"), left...)
	}
	return done, nil
}

// readlink is where the link at p leads; empty when there is no link.
func (v *view) readlink(p string) (string, error) {
	f, err := sys.OpenPathInRoot(v.root, p, false)
	if errors.Is(err, fs.ErrNotExist) || sys.IsNotDir(err) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || info.Mode()&fs.ModeSymlink == 0 {
		return "", err
	}
	return sys.ReadlinkAt(sys.Borrow(f), "")
}
