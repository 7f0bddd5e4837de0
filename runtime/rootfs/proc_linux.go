package rootfs

import (
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// replaceable are the files of proc that others make for containers, such as LXCFS.
var replaceable = []string{
	"/proc/cpuinfo", "/proc/diskstats", "/proc/loadavg", "/proc/meminfo", "/proc/net/dev", "/proc/slabinfo", "/proc/stat", "/proc/swaps",
	"/proc/sys/crypto/fips_enabled", "/proc/sys/kernel/ns_last_pid", "/proc/uptime",
}

// rootInode is the number of the topmost directory of every proc.
const rootInode = 1

// checkPlace refuses places in proc by their name; checkProc knows where links lead.
func (m *mount) checkPlace() error {
	if name := path.Clean("/" + m.Destination); strings.HasPrefix(name, "/proc/") && !slices.Contains(replaceable, name) {
		return insideProc(name)
	}
	return nil
}

func insideProc(name string) error {
	return fmt.Errorf("%q cannot be mounted because it is inside /proc", name)
}

// checkProc refuses what would stand for proc, or for a part of it, and is something else: an image can ask for a volume
// anywhere, and who believes that he has written his profile, or read a limit, may have met a file of the image's.
func (m *mount) checkProc(target *os.File) error {
	name := path.Clean("/" + m.Destination)
	there, err := isProc(target)
	if err != nil {
		return err
	}
	over := name == "/proc"
	if there && !over {
		var st unix.Stat_t
		if err := unix.Fstat(int(target.Fd()), &st); err != nil {
			return err
		}
		over = st.Ino == rootInode // by a link
	}
	if over {
		if real, err := isProc(m.source); real || err != nil {
			return err
		}
		return fmt.Errorf("%q cannot be mounted because it is not of type proc", name)
	}
	if there && !slices.Contains(replaceable, name) {
		return insideProc(name)
	}
	return nil
}

func isProc(f *os.File) (bool, error) {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &fs); err != nil {
		return false, err
	}
	return fs.Type == unix.PROC_SUPER_MAGIC, nil
}
