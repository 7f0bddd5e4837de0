package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/cove-containers/cove/sys"
)

// hello is the program of the built-in image: it prints what a container sees of itself.
func hello(w io.Writer) {
	host, _ := os.Hostname()
	fmt.Fprintf(w, "\nHello from inside a container of Cove.\n\n")
	fmt.Fprintf(w, "  host name     %s\n", host)
	fmt.Fprintf(w, "  this process  pid %d, user %d:%d\n", os.Getpid(), os.Getuid(), os.Getgid())
	fmt.Fprintf(w, "  namespaces    %s\n", namespacesSeen())
	fmt.Fprintf(w, "  cgroup        %s\n", cgroupSeen())
	fmt.Fprintf(w, "  limits        %s\n", limitsSeen())
	fmt.Fprintf(w, "  capabilities  %s, seccomp mode %s\n", statusField("CapEff"), statusField("Seccomp"))
	fmt.Fprintf(w, "  root          %s\n", rootSeen())
	if text, err := os.ReadFile("/hello.txt"); err == nil {
		fmt.Fprintf(w, "  /hello.txt    %s\n", strings.TrimSpace(string(text)))
	}
	fmt.Fprintf(w, "\nTry a shell of your own:  cove run -it --rm alpine sh\n\n")
}

func namespacesSeen() string {
	var out []string
	for _, kind := range []string{"pid", "mnt", "net", "uts", "ipc", "cgroup", "user"} {
		if link, err := os.Readlink("/proc/self/ns/" + kind); err == nil {
			out = append(out, strings.NewReplacer(":[", " ", "]", "").Replace(link))
		}
	}
	return strings.Join(out, ", ")
}

func cgroupSeen() string {
	raw, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "unknown"
	}
	paths := map[string]bool{}
	for _, line := range strings.Split(strings.TrimSpace(string(raw)), "\n") {
		if f := strings.SplitN(line, ":", 3); len(f) == 3 {
			paths[f[2]] = true
		}
	}
	var out []string
	for p := range paths {
		out = append(out, p)
	}
	return strings.Join(out, " ") + " (as seen from its own cgroup namespace)"
}

// limitsSeen reads cgroup v2's files, else v1's.
func limitsSeen() string {
	var out []string
	for _, l := range []struct{ name, v2, v1 string }{
		{"memory", "memory.max", "memory/memory.limit_in_bytes"},
		{"processes", "pids.max", "pids/pids.max"},
		{"cpu quota", "cpu.max", "cpu/cpu.cfs_quota_us"},
	} {
		for _, file := range []string{l.v2, l.v1} {
			raw, err := os.ReadFile(filepath.Join("/sys/fs/cgroup", file))
			if err != nil {
				continue
			}
			value := strings.TrimSpace(string(raw))
			if value == "-1" || value == "9223372036854771712" || strings.HasPrefix(value, "max") {
				value = "none"
			}
			out = append(out, l.name+" "+value)
			break
		}
	}
	if len(out) == 0 {
		return "none visible"
	}
	return strings.Join(out, ", ")
}

func statusField(name string) string {
	raw, _ := os.ReadFile("/proc/self/status")
	for _, line := range strings.Split(string(raw), "\n") {
		if v, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(v)
		}
	}
	return "unknown"
}

// rootSeen tells of how many layers the root is made; how an overlay lists them differs between kernels.
func rootSeen() string {
	mounts, _ := sys.MountsOf("self")
	for _, m := range mounts {
		if m.Point != "/" {
			continue
		}
		layers := strings.Count(m.Options, "lowerdir+=")
		if layers == 0 {
			if _, list, ok := strings.Cut(m.Options, "lowerdir="); ok {
				list, _, _ = strings.Cut(list, ",")
				layers = strings.Count(list, ":") + 1
			}
		}
		return fmt.Sprintf("%s of %d read-only layers and a writable one", m.Kind, layers)
	}
	return "unknown"
}
