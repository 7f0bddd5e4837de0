package sys

import (
	"os"
	"strings"
)

// AppArmor tells whether the kernel confines programs by AppArmor profiles.
func AppArmor() bool {
	said, err := os.ReadFile("/sys/module/apparmor/parameters/enabled")
	return err == nil && strings.HasPrefix(string(said), "Y")
}
