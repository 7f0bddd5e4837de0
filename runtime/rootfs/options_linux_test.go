package rootfs

import (
	"errors"
	"reflect"
	"testing"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

func TestParseOptions(t *testing.T) {
	private := []propagationOption{{unix.MS_PRIVATE, true}}
	for _, tc := range []struct {
		kind  string
		words []string
		want  options
	}{
		{"bind", nil, options{bind: true, propagations: private}},
		{"bind", []string{"rbind", "ro"}, options{bind: true, recursive: true, own: unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}, propagations: private}},
		{"bind", []string{"rbind", "rro", "rslave"}, options{bind: true, recursive: true, below: unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}, propagations: []propagationOption{{unix.MS_SLAVE, true}}}},
		{"none", []string{"bind", "shared"}, options{bind: true, propagations: []propagationOption{{unix.MS_SHARED, false}}}},
		{"tmpfs", []string{"ro", "rw", "noexec", "exec", "noexec", "size=1m", "sync", ""}, options{
			own:  unix.MountAttr{Attr_set: unix.MOUNT_ATTR_NOEXEC, Attr_clr: unix.MOUNT_ATTR_RDONLY},
			data: []parameter{{"size", "1m", false}, {"sync", "", true}},
		}},
		{"tmpfs", []string{"noatime", "strictatime"}, options{own: unix.MountAttr{Attr_set: unix.MOUNT_ATTR_STRICTATIME, Attr_clr: unix.MOUNT_ATTR__ATIME}}},
		{"tmpfs", []string{"noatime", "relatime"}, options{own: unix.MountAttr{Attr_clr: unix.MOUNT_ATTR__ATIME}}},
	} {
		got, err := parseOptions(tc.kind, tc.words)
		if err != nil || !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%s %q: got %+v, %v, want %+v", tc.kind, tc.words, got, err, tc.want)
		}
	}
	if _, err := parseOptions("tmpfs", []string{"idmap"}); !errors.Is(err, errdefs.ErrInvalidArgument) {
		t.Errorf("idmap: %v", err)
	}
}

func TestOtherRoot(t *testing.T) {
	for source, want := range map[string]string{
		"/proc/12/root/dev/shm": "12 /dev/shm", "/proc/self/root/x": "", "/proc/12/rootx": "", "/proc/12": "", "/x": "", "/proc/12/root/": "12 /",
	} {
		pid, path, ok := otherRoot(source)
		if got := pid + " " + path; ok != (want != "") || ok && got != want {
			t.Errorf("%s: %q, %v", source, got, ok)
		}
	}
}
