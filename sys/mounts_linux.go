package sys

import (
	"bufio"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// MountOf tells where the mount is mounted that path lies on, and whether it shares what is mounted on it with others
// ("shared:N") or takes it from them ("master:N"). The error is the kernel's.
func MountOf(path string) (point string, shared, slave bool, err error) {
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, 0, unix.STATX_MNT_ID, &st); err != nil {
		return "", false, false, err
	}
	f, err := os.Open("/proc/thread-self/mountinfo")
	if err != nil {
		return "", false, false, err
	}
	defer f.Close()
	id := strconv.FormatUint(st.Mnt_id, 10)
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		// ID parent device root point options [optional…] - type source superoptions
		fields := strings.Fields(lines.Text())
		if len(fields) < 7 || fields[0] != id {
			continue
		}
		optional := fields[6:max(6, slices.Index(fields, "-"))]
		has := func(prefix string) bool {
			return slices.ContainsFunc(optional, func(o string) bool { return strings.HasPrefix(o, prefix) })
		}
		return unescape.Replace(fields[4]), has("shared:"), has("master:"), nil
	}
	if err := lines.Err(); err != nil {
		return "", false, false, err
	}
	return "", false, false, fmt.Errorf("no mount %s is known: %w", id, unix.ENOENT)
}

// unescape reads paths as the kernel writes them in tables.
var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
