package test

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// manyImages are images of all kinds, as GET /images/json gives them.
func manyImages() []map[string]any {
	sum := func(digit string) string { return "sha256:" + strings.Repeat(digit, 64) }
	size := func(content, total int64) map[string]int64 {
		return map[string]int64{"Content": content, "Total": total}
	}
	platform := func(id, os, arch, variant string, available bool, content, total int64, users ...string) map[string]any {
		return map[string]any{"ID": sum(id), "Kind": "image", "Available": available, "Size": size(content, total), "ImageData": map[string]any{
			"Platform": map[string]string{"os": os, "architecture": arch, "variant": variant}, "Containers": append([]string{}, users...), "Size": map[string]int64{"Unpacked": total - content},
		}}
	}
	attestation := map[string]any{"ID": sum("e"), "Kind": "attestation", "Available": true, "Size": size(900, 900), "AttestationData": map[string]string{"For": sum("a")}}
	image := func(id string, size, containers, created int64, tags []string, manifests ...any) map[string]any {
		return map[string]any{"Id": sum(id), "Size": size, "Containers": containers, "Created": created, "RepoTags": tags, "RepoDigests": []string{}, "Labels": nil, "Manifests": manifests}
	}
	return []map[string]any{
		image("1", 5_000_000, 1, 1_700_000_000, []string{"busybox:latest"}, platform("a", "linux", "amd64", "", true, 2_000_000, 5_000_000, "c1")),
		image("2", 80_123_456, -1, 1_700_000_001, []string{"zoo.example.com:5000/team/app:with-a-long-tag", "alpine:3.20", "alpine:latest"},
			platform("b", "linux", "amd64", "", true, 30_000_000, 80_000_000), platform("c", "linux", "arm", "v7", false, 0, 0), platform("d", "windows", "amd64", "", false, 12, 12), attestation),
		image("3", 999, 0, 1_700_000_002, []string{"none:of-this"}),
		image("4", 1_234_567_890, 0, 1_700_000_003, nil, platform("f", "linux", "arm64", "v8", true, 1, 1_234_567_890)),
	}
}

// TestImagesTree has "images --tree" shown by the current docker client and by cove, called docker, on terminals of many widths and on none.
func TestImagesTree(t *testing.T) {
	bin, err := binaries()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := exec.LookPath("script"); err != nil {
		t.Skip("script is not installed: there is no terminal")
	}
	dir := t.TempDir()
	socket := filepath.Join(dir, "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	list := manyImages()
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Api-Version", "1.52")
		w.Header().Set("Content-Type", "application/json")
		if strings.HasSuffix(r.URL.Path, "/images/json") {
			json.NewEncoder(w).Encode(list)
		}
	})}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	stock, ours := filepath.Join(dir, "stock"), filepath.Join(dir, "ours")
	for folder, program := range map[string]string{stock: docker29(t), ours: filepath.Join(bin, "cove")} {
		if err := os.Mkdir(folder, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(program, filepath.Join(folder, "docker")); err != nil {
			t.Fatal(err)
		}
	}
	show := func(folder, line string, env ...string) string {
		cmd := exec.Command("sh", "-c", line)
		cmd.Env = append([]string{"PATH=" + folder + ":" + os.Getenv("PATH"), "HOME=" + dir, "DOCKER_HOST=unix://" + socket, "TERM=xterm", "LANG=C.UTF-8"}, env...)
		out, _ := cmd.CombinedOutput()
		return string(out)
	}
	same := func(line string, env ...string) {
		t.Helper()
		if a, b := show(stock, line, env...), show(ours, line, env...); a != b || a == "" {
			t.Errorf("%s %v\ndocker\n%s\ncove\n%s\n%q\n%q", line, env, a, b, a, b)
		}
	}
	for _, line := range []string{"docker images --tree", "docker image ls --tree -a", "docker images --tree busybox", "docker images --tree -q", "docker images --tree --digests",
		"docker images --tree --no-trunc", "docker images --tree --format json", "docker images --tree -f dangling=true", "docker images --tree -f dangling=false"} {
		same(line)
	}
	for _, width := range []int{10, 30, 45, 60, 72, 80, 120, 250} {
		line := fmt.Sprintf("script -qec 'stty cols %d rows 24; docker images --tree -a' /dev/null", width)
		same(line)
		same(line, "NO_COLOR=1")
	}
	list = list[2:3] // of which nothing is in use, and that is for one platform only
	same("docker images --tree")
	list = nil
	same("docker images --tree")
}

// TestImagesTreeOfEngine has the tree of real images shown, one of them in use.
func TestImagesTreeOfEngine(t *testing.T) {
	needRoot(t)
	images(t)
	e := newEngine(t)
	e.Start()
	e.Load("busybox", "alpine")
	e.Run("cove", "tag", "busybox", "app:1")
	e.Run("cove", "create", "busybox")
	got := e.Run("cove", "images", "--tree")
	if want := e.Run(docker29(t), "images", "--tree"); got != want {
		t.Errorf("docker\n%s\ncove\n%s", want, got)
	}
	lines := strings.Split(got, "\n")
	used := func(name string) bool {
		for _, line := range lines {
			if fields := strings.Fields(line); len(fields) > 1 && fields[0] == name {
				return fields[len(fields)-1] == "U"
			}
		}
		t.Errorf("%s is not in\n%s", name, got)
		return false
	}
	if !used("busybox:latest") || used("alpine:3.20") || !strings.Contains(got, "─ linux/"+runtime.GOARCH) {
		t.Errorf("got\n%s", got)
	}
}
