package test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// disk is the node of some block device of this host that can be throttled: a whole one.
func disk(t *testing.T) string {
	t.Helper()
	all, _ := filepath.Glob("/sys/block/*")
	for _, d := range all {
		node := "/dev/" + filepath.Base(d)
		if _, err := os.Stat(node); err == nil {
			return node
		}
	}
	t.Skip("needs a block device")
	return ""
}

// TestUpdateOfDevices changes limits of single devices: of a container that runs, which gets them at once, and of one that
// does not, which gets them when it starts.
func TestUpdateOfDevices(t *testing.T) {
	needRoot(t)
	if _, err := os.Stat("/sys/fs/cgroup/blkio/blkio.throttle.read_bps_device"); err != nil {
		t.Skip("needs the blkio controller of the older control groups")
	}
	node := disk(t)
	e := newEngine(t)
	e.Start()
	e.Load("busybox")
	api := newSpeaker(t, e.Socket())
	id := e.Run("docker", "run", "-d", "--device-read-bps", node+":1mb", "--device-write-iops", node+":77", "busybox", "sleep", "1000")
	update := func(version, body string) {
		t.Helper()
		api.must("POST", "/"+version+"/containers/"+id+"/update", strings.ReplaceAll(body, "DISK", node))
	}
	expect := func(readBps, writeBps, readIOps, writeIOps string) {
		t.Helper()
		want := []string{readBps, writeBps, readIOps, writeIOps}
		for i, file := range []string{"read_bps", "write_bps", "read_iops", "write_iops"} {
			got := e.Run("docker", "exec", id, "sh", "-c", "cut -d' ' -f2 /sys/fs/cgroup/blkio/blkio.throttle."+file+"_device")
			field := []string{"BlkioDeviceReadBps", "BlkioDeviceWriteBps", "BlkioDeviceReadIOps", "BlkioDeviceWriteIOps"}[i]
			shown := e.Run("docker", "inspect", "-f", fmt.Sprintf("{{range .HostConfig.%s}}{{.Path}} {{.Rate}}{{end}}", field), id)
			if wantShown := node + " " + want[i]; got != want[i] || want[i] == "" && shown != "" || want[i] != "" && shown != wantShown {
				t.Errorf("%s is %q and shown as %q, want %q", file, got, shown, want[i])
			}
		}
	}
	expect("1048576", "", "", "77")
	update("v1.55", `{"BlkioDeviceReadBps":[{"Path":"DISK","Rate":2000000}],"BlkioDeviceWriteBps":[{"Path":"DISK","Rate":3000000}],"BlkioDeviceWriteIOps":null}`)
	expect("2000000", "3000000", "", "77")
	update("v1.55", `{"BlkioDeviceReadBps":[],"BlkioDeviceWriteIOps":[],"BlkioDeviceReadIOps":[{"Path":"DISK","Rate":88}]}`)
	expect("", "3000000", "88", "")
	update("v1.54", `{"BlkioDeviceReadIOps":[],"BlkioDeviceReadBps":[{"Path":"DISK","Rate":5}]}`)
	expect("", "3000000", "88", "")
	e.Run("docker", "update", "--memory", "64m", "--memory-swap", "64m", id)
	expect("", "3000000", "88", "")
	r := api.say("POST", "/v1.55/containers/"+id+"/update", `{"BlkioDeviceReadBps":[{"Path":"/dev/nosuch","Rate":5}]}`)
	if r.status != 400 || !strings.Contains(r.message(), "/dev/nosuch") {
		t.Errorf("a device that is not there: %d %s", r.status, r.body)
	}
	e.Run("docker", "restart", "-t", "0", id)
	expect("", "3000000", "88", "")
	e.Run("docker", "stop", "-t", "0", id)
	update("v1.55", `{"BlkioDeviceWriteBps":[],"BlkioDeviceReadIOps":[{"Path":"DISK","Rate":99}]}`)
	e.Run("docker", "start", id)
	expect("", "", "99", "")
}
