package test

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// runtimeTools is the module whose programs TestRuntimeSuite runs.
const runtimeTools = "github.com/opencontainers/runtime-tools"

// TestRuntimeSuite runs the validation programs of the OCI runtime specification against crun and against cove-runtime: every
// test that crun passes on this host, cove-runtime passes. Each program has namespaces and cgroups of its own, which end with it.
func TestRuntimeSuite(t *testing.T) {
	needRoot(t)
	crun, err := exec.LookPath("crun")
	if err != nil {
		t.Skip("needs crun to compare with")
	}
	bin, err := binaries()
	if err != nil {
		t.Fatal(err)
	}
	suite := runtimeSuite(t)
	var ours, theirs map[string]tapResult
	var again func(program string) tapResult
	var both sync.WaitGroup
	both.Go(func() {
		ours, again = suite.runAll(t, "cove", `exec "`+filepath.Join(bin, "cove-runtime")+`" --root "$ROOT" "$@"`)
	})
	// Debian's crun refuses documents of a newer version than it knows.
	both.Go(func() {
		theirs, _ = suite.runAll(t, "crun", `for a; do [ "$last" = --bundle ] && sed -i 's/"ociVersion": *"[^"]*"/"ociVersion":"1.0.2"/' "$a/config.json"; last=$a; done
exec "`+crun+`" --root "$ROOT" "$@"`)
	})
	both.Wait()
	passed, ahead := 0, 0
	for _, program := range suite.programs {
		a, b := ours[program], theirs[program]
		// The programs give a runtime a second for this or that, and were many at a time; one kills a process, expecting that it is still there,
		// that ends by itself at once.
		for tries := 0; tries < 10 && a.worse(b); tries++ {
			a = again(program)
		}
		if b.status == 0 && a.status != 0 {
			t.Errorf("%s ends with %d, with crun it does not\n%s", program, a.status, a.output)
		}
		for name, ok := range b.tests {
			switch {
			case !ok && a.tests[name]:
				ahead++
				t.Logf("crun fails and cove passes: %s: %s", program, name)
			case ok && !a.tests[name]:
				t.Errorf("crun passes and cove does not: %s: %s\n%s", program, name, a.output)
			case ok:
				passed++
			}
		}
	}
	t.Logf("%d programs: both pass %d tests, cove passes %d that crun fails", len(suite.programs), passed, ahead)
	if passed < 500 {
		t.Errorf("only %d tests passed: the suite did not run", passed)
	}
}

// ociSuite is the built suite.
type ociSuite struct {
	dir      string // the programs, with runtimetest and the root file system they run in containers
	programs []string
}

// runtimeSuite builds the programs from the module in test/runtimetools and keeps them in the user's cache.
func runtimeSuite(t *testing.T) *ociSuite {
	t.Helper()
	s := &ociSuite{dir: kept(t, "runtimetools", runtimeTools, func(_, made string) *exec.Cmd {
		return exec.Command("sh", "-ec", `go build -ldflags "-s -w" -o "$0/" tool
cp "$(go list -m -f '{{.Dir}}' `+runtimeTools+`)/rootfs-$(go env GOARCH).tar.gz" "$0"`, made)
	})}
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != "runtimetest" && !strings.HasSuffix(e.Name(), ".gz") {
			s.programs = append(s.programs, e.Name())
		}
	}
	return s
}

// tapResult is what a program said: which of its tests passed. Those it skipped are not among them.
type tapResult struct {
	tests  map[string]bool
	status int
	output string
}

// atOnce is how many programs run at a time: most of what they do is wait.
const atOnce = 8

// worse tells whether something did not pass that did in another run.
func (r tapResult) worse(than tapResult) bool {
	for name, ok := range than.tests {
		if ok && !r.tests[name] {
			return true
		}
	}
	return than.status == 0 && r.status != 0
}

// runAll runs all programs with a runtime, which is a shell script. again runs one of them once more.
func (s *ociSuite) runAll(t *testing.T, name, script string) (results map[string]tapResult, again func(program string) tapResult) {
	t.Helper()
	wrapper := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(wrapper, []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	var lock sync.Mutex
	var all sync.WaitGroup
	results, slots := map[string]tapResult{}, make(chan struct{}, atOnce)
	again = func(program string) tapResult {
		r, err := s.run(t.TempDir(), wrapper, program)
		if err != nil {
			t.Errorf("%s: %s: %v", name, program, err)
		}
		return r
	}
	for _, program := range s.programs {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			r := again(program)
			lock.Lock()
			defer lock.Unlock()
			results[program] = r
		})
	}
	all.Wait()
	return results, again
}

// suiteScript prepares a program's place: cgroups that it takes for the host's own, of which it wants the older hierarchies
// alone, and a temporary folder. Its containers end with its pid namespace, their mounts with its mount namespace.
const suiteScript = `
set -e
[ -d /sys/fs/cgroup/unified ] && umount -l /sys/fs/cgroup/unified
mounts=$(awk '$3 == "cgroup" { print $2 " " $4 }' /proc/mounts)
[ "$mounts" ] && echo "$mounts" | while read -r place options; do
	kind=$(echo "$options" | tr , '\n' | grep -vxE 'rw|ro|nosuid|nodev|noexec|relatime|xattr|clone_children' | paste -sd,)
	umount "$place"
	mount -t cgroup -o "$kind" cgroup "$place"
done
cd "$SUITE"
set +e
"./$1" >"$TMPDIR/tap" 2>"$TMPDIR/errors"
`

func (s *ociSuite) run(dir, wrapper, program string) (tapResult, error) {
	groups, err := ownGroups(strings.Join([]string{"cove-suite", strconv.Itoa(os.Getpid()), filepath.Base(wrapper), program}, "-"))
	defer func() {
		for _, g := range groups {
			removeGroup(g)
		}
	}()
	if err != nil {
		return tapResult{}, err
	}
	enter := ""
	for _, g := range groups {
		enter += `echo 0 >"` + g + `/cgroup.procs" && `
	}
	cmd := exec.Command("timeout", "-k", "1", "60", "sh", "-c", enter+
		`exec unshare --mount --pid --cgroup --fork --kill-child --mount-proc --propagation private sh -c "$PLACE" sh "$0"`, program)
	cmd.Env = append(os.Environ(), "PLACE="+suiteScript, "SUITE="+s.dir, "TMPDIR="+dir, "RUNTIME="+wrapper, "ROOT="+filepath.Join(dir, "state"))
	cmd.Dir = dir
	said, err := cmd.CombinedOutput()
	status := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		status = exit.ExitCode()
	} else if err != nil {
		return tapResult{}, err
	}
	tap, err := os.ReadFile(filepath.Join(dir, "tap"))
	if err != nil {
		return tapResult{}, fmt.Errorf("%w: %s", err, said)
	}
	complaints, err := os.ReadFile(filepath.Join(dir, "errors"))
	return tapResult{tests: readTAP(tap), status: status, output: string(tap) + string(complaints)}, err
}

// ownGroups makes a cgroup of this name below this process's own in each of the older hierarchies.
func ownGroups(name string) (all []string, err error) {
	mounts, err := os.ReadFile("/proc/mounts")
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(mounts)) {
		f := strings.Fields(line)
		if f[2] != "cgroup" {
			continue
		}
		dir := filepath.Join(f[1], name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			return all, err
		}
		all = append(all, dir)
		// A new group of this kind has no processors and no memory.
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
			text, err := os.ReadFile(filepath.Join(f[1], file))
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err == nil {
				err = os.WriteFile(filepath.Join(dir, file), text, 0)
			}
			if err != nil {
				return all, err
			}
		}
	}
	return all, nil
}

// removeGroup removes a cgroup with those below; its processes have been killed.
func removeGroup(dir string) {
	if _, err := os.Stat(dir); err != nil {
		return
	}
	var all []string
	_ = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() {
			all = append(all, path)
		}
		return nil
	})
	slices.SortFunc(all, func(a, b string) int { return cmp.Compare(len(b), len(a)) })
	for _, g := range all {
		for tries := 0; tries < 100 && os.Remove(g) != nil; tries++ {
			time.Sleep(10 * time.Millisecond) // until the kernel is done with the processes
		}
	}
}

var (
	tapLine = regexp.MustCompile(`^\s*(not )?ok \d+(?: - )?(.*)$`)
	uuids   = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|ocitest\d+|/proc/\d+/`)
)

// readTAP reads which tests passed; of several by the same name each counts.
func readTAP(text []byte) map[string]bool {
	tests, seen := map[string]bool{}, map[string]int{}
	for line := range bytes.Lines(text) {
		m := tapLine.FindStringSubmatch(strings.TrimRight(string(line), "\n"))
		if m == nil || strings.Contains(m[2], "# SKIP") || strings.Contains(m[2], "# TODO") {
			continue
		}
		name := uuids.ReplaceAllString(m[2], "*")
		seen[name]++
		tests[fmt.Sprintf("%s (%d)", name, seen[name])] = m[1] == ""
	}
	return tests
}
