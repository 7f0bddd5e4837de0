package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestRuntimeOfDockerd has Debian's dockerd, by containerd's own shim, run containers with cove-runtime.
func TestRuntimeOfDockerd(t *testing.T) {
	t.Parallel()
	needRoot(t)
	images(t)
	e := newEngine(t)
	e.Start()
	e.Load("busybox")
	archive := filepath.Join(t.TempDir(), "busybox.tar")
	e.Run("cove", "save", "-o", archive, "busybox") // of a kind that a dockerd of that age knows
	d := newDockerd(t, "--add-runtime", "cove="+filepath.Join(e.Bin, "cove-runtime"))
	script := func(text string) string {
		cmd := exec.Command("sh", "-c", text)
		cmd.Env = append(os.Environ(), "DOCKER_HOST=unix://"+d.socket, "R=--runtime cove --network none")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Logf("%s: %v", text, err)
		}
		return strings.ReplaceAll(strings.TrimSpace(string(out)), "\r", "")
	}
	memory := "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/cpu/cpu.cfs_quota_us"
	if _, err := os.Stat("/sys/fs/cgroup/memory"); err != nil {
		memory = "cat /sys/fs/cgroup/memory.max; cut -d' ' -f1 /sys/fs/cgroup/cpu.max"
	}
	for _, step := range []struct{ do, want string }{
		{"docker load -q -i " + archive, "Loaded image: busybox:latest"},
		{"docker run --rm $R busybox sh -c 'echo out; exit 3'; echo $?", "out\n3"},
		{"echo in | docker run --rm -i $R busybox cat", "in"},
		{"script -qec \"docker run --rm -t $R busybox tty\" /dev/null </dev/null", ".*/dev/pts/0"},
		{`docker run -d --name long --init -m 64m --memory-swap 128m --cpus .5 --read-only --tmpfs /t --health-cmd true --health-interval 200ms $R busybox \
			sh -c 'trap "exit 7" TERM; while :; do sleep .1; done'`, "[0-9a-f]{64}"},
		{"docker exec -u 1000 -w /t -e A=b long sh -c 'id -u; pwd; echo $A; exit 5'; echo $?", "1000\n/t\nb\n5"},
		{"docker exec long sh -c '" + memory + "'", "67108864\n50000"},
		// What an update does not name it says to be 0.
		{"docker update -m 80m --memory-swap 160m long; docker exec long sh -c '" + memory + "'", "long\n83886080\n50000"},
		{"docker update --cpu-shares 512 long; docker exec long sh -c '" + memory + "'", "long\n83886080\n50000"},
		{"docker pause long; docker inspect -f '{{.State.Status}}' long; docker unpause long", "long\npaused\nlong"},
		{"docker stats --no-stream --format '{{.Name}} {{.MemUsage}}' long", "long .*iB / 80MiB"},
		{"docker top long -o pid,comm | head -1", "PID +COMMAND"},
		{"for i in $(seq 100); do docker inspect -f '{{.State.Health.Status}}' long | grep -m1 healthy && break; sleep .1; done", "healthy"},
		{"docker stop -t 9 long; docker inspect -f '{{.State.ExitCode}}' long; docker start long; docker restart -t 0 long; docker rm -f long", "long\n7\nlong\nlong\nlong"},
		{"docker run --rm $R busybox nosuch; echo $?", "(?s).*exec: \"nosuch\": executable file not found in \\$PATH.*\n127"},
		{"docker run --rm $R busybox /etc; echo $?", "(?s).*\n126"},
		{`docker run --name big -m 16m --memory-swap 16m $R busybox sh -c 'tail -c 50m /dev/zero; true'; docker inspect -f '{{.State.OOMKilled}}' big; docker rm big`, "(Killed\n)?true\nbig"},
		{"docker run -d --name again --restart on-failure:2 $R busybox false; docker wait again; for i in $(seq 100); do docker inspect -f '{{.RestartCount}}' again | grep 2 && break; sleep .1; done; docker rm -f again",
			"[0-9a-f]{64}\n1\n2\nagain"},
	} {
		if got := script(step.do); !regexp.MustCompile("^(?:" + step.want + ")$").MatchString(got) {
			t.Errorf("%s\nanswers %q, want %q", step.do, got, step.want)
		}
	}
}
