package test

import (
	"os"
	"strings"
	"testing"
)

// TestAppArmor: where the kernel has AppArmor, containers, commands in them and steps of builds are confined, by a profile that is loaded when it is
// needed, or by another one that was asked for, or by none.
func TestAppArmor(t *testing.T) {
	needRoot(t)
	images(t)
	const profiles = "/sys/kernel/security/apparmor/profiles"
	before, err := os.ReadFile(profiles)
	if err != nil {
		t.Skip("needs a kernel with AppArmor: scripts/vm-test has one")
	}
	theirs := strings.Contains(string(before), "docker-default ")
	takeAway := func() { // as cleaning up does with what no file has; another engine's profile stays
		if theirs {
			return
		}
		if err := os.WriteFile("/sys/kernel/security/apparmor/.remove", []byte("docker-default"), 0); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(takeAway)
	e := newEngine(t)
	e.Start()
	e.Load("busybox")
	if got := e.Run("cove", "info", "-f", "{{.SecurityOptions}}"); !strings.Contains(got, "name=apparmor") {
		t.Errorf("info: %s", got)
	}
	const own, of = "/proc/self/attr/current", "{{.AppArmorProfile}}"
	e.Run("cove", "run", "-d", "--name", "c", "busybox", "sleep", "1000")
	for what, c := range map[string]struct {
		args []string
		want string
	}{
		"a container":                    {[]string{"run", "--rm", "busybox", "cat", own}, "docker-default (enforce)"},
		"with no new privileges":         {[]string{"run", "--rm", "--security-opt", "no-new-privileges", "busybox", "cat", own}, "docker-default (enforce)"},
		"by name":                        {[]string{"run", "--rm", "--privileged", "--security-opt", "apparmor=docker-default", "busybox", "cat", own}, "docker-default (enforce)"},
		"a privileged one":               {[]string{"run", "--rm", "--privileged", "busybox", "cat", own}, "unconfined"},
		"one that is not to be confined": {[]string{"run", "--rm", "--security-opt", "apparmor=unconfined", "busybox", "cat", own}, "unconfined"},
		"a command":                      {[]string{"exec", "c", "cat", own}, "docker-default (enforce)"},
		"a privileged command":           {[]string{"exec", "--privileged", "c", "cat", own}, "unconfined"},
		"an inspected container":         {[]string{"inspect", "-f", of, "c"}, "docker-default"},
	} {
		if got := e.Run(append([]string{"cove"}, c.args...)...); got != c.want {
			t.Errorf("%s: %s, want %s", what, got, c.want)
		}
	}
	// What the profile denies, and nothing else does.
	mount := []string{"cove", "run", "--rm", "--cap-add", "SYS_ADMIN", "--security-opt", "seccomp=unconfined"}
	command := []string{"busybox", "mount", "-t", "tmpfs", "none", "/mnt"}
	if out, errOut, code := e.Try(append(append(mount, "-w", "/mnt"), command...)...); code == 0 || !strings.Contains(errOut, "denied") {
		t.Errorf("a mount: status %d: %s%s", code, out, errOut)
	}
	e.Run(append(append(mount, "-w", "/mnt", "--security-opt", "apparmor=unconfined"), command...)...)
	e.Run("cove", "stop", "-t", "0", "c")

	if out, errOut, code := e.Try("cove", "run", "--rm", "--security-opt", "apparmor=nobody-has-it", "busybox", "true"); code == 0 || !strings.Contains(errOut, "AppArmor profile nobody-has-it") {
		t.Errorf("a profile that is not there: status %d: %s%s", code, out, errOut)
	}
	takeAway()
	e.Run("cove", "build", "-q", "-t", "built", folder(t, "Dockerfile", "FROM busybox\nRUN cat "+own+" >/profile\n"))
	if got := e.Run("cove", "run", "--rm", "built", "cat", "/profile", own); got != "docker-default (enforce)\ndocker-default (enforce)" {
		t.Errorf("a step, and a container after the profile was taken away: %s", got)
	}
}
