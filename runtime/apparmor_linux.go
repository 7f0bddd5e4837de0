package runtime

import (
	"fmt"
	"os"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/cove-containers/cove/sys"
)

// unconfined is the profile of a process AppArmor leaves alone.
const unconfined = "unconfined"

// openConfinement opens the host's proc for a process that shall execute under an AppArmor profile: there it names
// the profile itself. A profile that nobody would enforce is refused.
func (b *birth) openConfinement() error {
	profile := b.process.ApparmorProfile
	if profile == "" {
		return nil
	}
	if !sys.AppArmor() {
		if profile == unconfined {
			return nil
		}
		return errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("AppArmor profile %q: AppArmor is not enabled on this host", profile))
	}
	b.profileFile = "thread-self/attr/exec"
	// Where other security modules run, too, each has a folder.
	if _, err := os.Stat("/proc/thread-self/attr/apparmor/exec"); err == nil {
		b.profileFile = "thread-self/attr/apparmor/exec"
	}
	var err error
	b.proc, err = os.OpenFile("/proc", unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return fmt.Errorf("open proc: %w", err)
	}
	return nil
}

// confine adds the calls by which the process takes on its profile when it executes the program.
func (b *birth) confine(p *program) {
	if b.proc == nil {
		return
	}
	text := []byte("exec " + b.process.ApparmorProfile)
	p.add("open AppArmor profile", unix.SYS_OPENAT, b.proc.Fd(), p.text(b.profileFile), unix.O_WRONLY|unix.O_CLOEXEC).into = registerContext
	p.add("set AppArmor profile "+b.process.ApparmorProfile, unix.SYS_WRITE, registerContext, p.bytes(text), uintptr(len(text))).refs = 1
	p.add("close AppArmor profile", unix.SYS_CLOSE, registerContext).refs = 1
}
