package sys

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Mount is a line of a table of mounts (proc_pid_mountinfo(5)).
type Mount struct {
	// ID is the mount's number, Device that of its file system, "major:minor".
	ID, Device string
	// Root is what of the file system it shows, Point where.
	Root, Point string
	// Optional says how it hands on and takes over what is mounted on it: "shared:N", "master:N".
	Optional []string
	// Kind is the file system's type, Options are its own: not the mount's.
	Kind, Options string
}

// MountsOf lists what a process sees mounted, in the kernel's order; the process is a number, "self" or "thread-self".
func MountsOf(process string) ([]Mount, error) {
	f, err := os.Open("/proc/" + process + "/mountinfo")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return ReadMounts(f)
}

// longestLine bounds a line of the table: each layer of an overlay is named in it.
const longestLine = 1 << 20

// ReadMounts reads a table of mounts. Lines that are none are left out.
func ReadMounts(table io.Reader) (all []Mount, err error) {
	lines := bufio.NewScanner(table)
	lines.Buffer(nil, longestLine)
	for lines.Scan() {
		// ID parent device root point options [optional…] - type source superoptions
		mount, system, _ := strings.Cut(lines.Text(), " - ")
		m, s := strings.Fields(mount), strings.Fields(system)
		if len(m) < 6 || len(s) == 0 {
			continue
		}
		one := Mount{ID: m[0], Device: m[2], Root: unescape.Replace(m[3]), Point: unescape.Replace(m[4]), Optional: m[6:], Kind: s[0]}
		if len(s) > 2 {
			one.Options = s[2]
		}
		all = append(all, one)
	}
	return all, lines.Err()
}

// unescape reads paths as the kernel writes them in tables.
var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)

// MountOf tells where the mount is mounted that path lies on, and whether it shares what is mounted on it with others
// ("shared:N") or takes it from them ("master:N"). The error is the kernel's.
func MountOf(path string) (point string, shared, slave bool, err error) {
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, 0, unix.STATX_MNT_ID, &st); err != nil {
		return "", false, false, err
	}
	all, err := MountsOf("thread-self")
	if err != nil {
		return "", false, false, err
	}
	id := strconv.FormatUint(st.Mnt_id, 10)
	for _, m := range all {
		if m.ID != id {
			continue
		}
		has := func(prefix string) bool {
			return slices.ContainsFunc(m.Optional, func(o string) bool { return strings.HasPrefix(o, prefix) })
		}
		return m.Point, has("shared:"), has("master:"), nil
	}
	return "", false, false, fmt.Errorf("no mount %s is known: %w", id, unix.ENOENT)
}
