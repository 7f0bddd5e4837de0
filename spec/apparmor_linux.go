package spec

import (
	"fmt"
	"sync"

	"github.com/moby/profiles/apparmor"
)

// AppArmorDefault is the profile of containers that ask for none. It is the one of Docker, and has its name: if another engine has loaded it,
// that one counts.
const AppArmorDefault = "docker-default"

var loading sync.Mutex

// LoadAppArmor is AppArmorDefault, which it loads where it is not there (any more: aa-remove-unknown(8) takes it away). That takes
// /sys/kernel/security, which a container has not, and apparmor_parser(8). It is safe for concurrent use.
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
