package sys

import (
	"bytes"
	"errors"
	"strconv"

	"golang.org/x/sys/unix"
)

// SetXattrAt sets an extended attribute of name in dir, without following a link; the empty name is dir itself.
func SetXattrAt(dir FD, name, attr string, value []byte) error {
	if name == "" {
		return pathError("setxattr "+attr, name, unix.Setxattr(procPath(dir, name), attr, value, 0))
	}
	return pathError("setxattr "+attr, name, unix.Lsetxattr(procPath(dir, name), attr, value, 0))
}

// SetXattr sets an extended attribute of the open file.
func (d FD) SetXattr(attr string, value []byte) error {
	return pathError("setxattr "+attr, "", unix.Fsetxattr(int(d), attr, value, 0))
}

// RemoveXattrAt removes an extended attribute of name in dir; an absent one is no error.
func RemoveXattrAt(dir FD, name, attr string) error {
	remove := unix.Lremovexattr
	if name == "" {
		remove = unix.Removexattr
	}
	if err := remove(procPath(dir, name), attr); err != nil && !errors.Is(err, unix.ENODATA) {
		return pathError("removexattr "+attr, name, err)
	}
	return nil
}

// GetXattrAt reads an extended attribute of name in dir; nil when there is none or the file system has no such thing.
func GetXattrAt(dir FD, name, attr string) ([]byte, error) {
	get := unix.Lgetxattr
	if name == "" {
		get = unix.Getxattr
	}
	value, err := sized(func(buf []byte) (int, error) { return get(procPath(dir, name), attr, buf) })
	if errors.Is(err, unix.ENODATA) || errors.Is(err, unix.EOPNOTSUPP) {
		return nil, nil
	}
	return value, pathError("getxattr "+attr, name, err)
}

// ListXattrAt lists the extended attributes of name in dir, without following a link; the empty name is dir itself.
func ListXattrAt(dir FD, name string) ([]string, error) {
	list := unix.Llistxattr
	if name == "" {
		list = unix.Listxattr
	}
	raw, err := sized(func(buf []byte) (int, error) { return list(procPath(dir, name), buf) })
	if errors.Is(err, unix.EOPNOTSUPP) {
		return nil, nil
	}
	if err != nil {
		return nil, pathError("listxattr", name, err)
	}
	var attrs []string
	for part := range bytes.SplitSeq(raw, []byte{0}) {
		if len(part) > 0 {
			attrs = append(attrs, string(part))
		}
	}
	return attrs, nil
}

// NoXattr tells that an error of setting an attribute means: this kind of file or file system takes none such.
func NoXattr(err error) bool { return errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EPERM) }

// procPath names a file for the calls that take no directory. The name is one component, so that only the link in
// /proc is followed.
func procPath(dir FD, name string) string {
	path := "/proc/self/fd/" + strconv.Itoa(int(dir))
	if name != "" {
		path += "/" + name
	}
	return path
}

// sized calls get with a buffer large enough.
func sized(get func([]byte) (int, error)) ([]byte, error) {
	buf := make([]byte, 512)
	for {
		n, err := get(buf)
		if errors.Is(err, unix.ERANGE) && len(buf) < 1<<20 {
			buf = make([]byte, 8*len(buf))
			continue
		}
		if err != nil {
			return nil, err
		}
		return buf[:n], nil
	}
}
