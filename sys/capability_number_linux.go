package sys

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// CapabilityNumber gives a capability's number by its name, as in "CAP_CHOWN".
func CapabilityNumber(name string) (int, bool) {
	n := slices.Index(capabilityNames[:], name)
	return n, n >= 0
}

// LastCapability is the highest capability this kernel knows.
func LastCapability() int { return lastCapability() }

var lastCapability = sync.OnceValue(func() int {
	b, err := os.ReadFile("/proc/sys/kernel/cap_last_cap")
	if err == nil {
		if n, err := strconv.Atoi(strings.TrimSpace(string(b))); err == nil {
			return n
		}
	}
	return len(capabilityNames) - 1
})
