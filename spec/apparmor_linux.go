package spec

import (
	"fmt"
	"os/exec"
	"sync"

	"github.com/moby/profiles/apparmor"
)

// AppArmorDefault is the profile of containers that ask for none. It is the one of Docker, and has its name: if another engine has loaded it,
// that one counts.
const AppArmorDefault = "docker-default"

// CanLoadAppArmor tells, of a host whose kernel has AppArmor, whether profiles can be asked for and loaded: that takes apparmor_parser(8),
// and /sys/kernel/security, which a container has not.
func CanLoadAppArmor() bool {
	if _, err := apparmor.IsLoaded(AppArmorDefault); err != nil {
		return false
	}
	_, err := exec.LookPath("apparmor_parser")
	return err == nil
}

var loading sync.Mutex

// LoadAppArmor is AppArmorDefault, which it loads where it is not there (any more: aa-remove-unknown(8) takes it away). It is safe for
// concurrent use.
func LoadAppArmor() (string, error) {
	loading.Lock()
	defer loading.Unlock()
	there, err := apparmor.IsLoaded(AppArmorDefault)
	if err == nil && !there {
		err = apparmor.InstallDefault(AppArmorDefault)
	}
	if err != nil {
		return "", fmt.Errorf("AppArmor profile %s: %w", AppArmorDefault, err)
	}
	return AppArmorDefault, nil
}
