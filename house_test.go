// Package house holds no code: its test keeps the order of the house, which package may import which, and how large
// each may grow. See docs/house.md.
package house

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/cove-containers/cove"

// floors, from the ground up. A package imports only from floors below its own. cmd wires and is free.
var floors = map[string]int{
	"api": 1, "oci": 1, "ref": 1, "release": 1, "state": 1, "sys": 1,
	"runtime": 2, "spec": 2, "blob": 2, "archive": 2, "logs": 2, "cdi": 2, "remote": 2, "client": 2,
	"container": 3, "image": 3, "layer": 3, "network": 3, "volume": 3, "access": 3, "shim": 3, "repository": 3, "cache": 3, "forward": 3,
	"engine": 4, "build": 4, "files": 4, "endpoint": 4, "snapshot": 4, "system": 4,
	"cli": 5, "server": 5, "cri": 5, "registry": 5, "console": 5, "buildkit": 5,
}

// beside stand beside the house: imported by tests only, or by nobody.
var beside = []string{"", "test", "testkit", "cmd"}

// Budgets.
const (
	packageLines  = 4000
	fileLines     = 500
	functionLines = 80
	interfaceSize = 5
	ownImports    = 12
)

// guests names, for each third-party module, the packages that may import it; "*" lets everybody. Nested packages and
// tests count as their parent.
var guests = map[string][]string{
	"github.com/BurntSushi/toml":             {"remote"},
	"github.com/containerd/errdefs":          {"*"},
	"github.com/containerd/containerd":       {"build", "buildkit", "cli"},
	"github.com/containerd/platforms":        {"build", "cli"},
	"github.com/tonistiigi/fsutil":           {"build", "buildkit", "cli", "test"},
	"github.com/tonistiigi/go-csvvalue":      {"cli"},
	"github.com/tonistiigi/dchapes-mode":     {"build"},
	"github.com/moby/patternmatcher":         {"build", "buildkit"},
	"github.com/in-toto/in-toto-golang":      {"build"},
	"google.golang.org/grpc":                 {"build", "buildkit"},
	"google.golang.org/protobuf":             {"build", "buildkit", "cli"},
	"google.golang.org/genproto":             {"buildkit"},
	"github.com/distribution/reference":      {"ref"},
	"github.com/docker/cli":                  {"cli"},
	"github.com/docker/go-units":             {"cmd", "container", "layer", "cli", "build", "forward"},
	"github.com/google/nftables":             {"network", "test"},
	"github.com/klauspost/compress":          {"archive", "build", "testkit"},
	"github.com/mdlayher/netlink":            {"network"},
	"github.com/minio/minio-go":              {"repository"},
	"github.com/moby/buildkit":               {"snapshot", "build", "buildkit", "cli", "cmd", "test"},
	"github.com/miekg/dns":                   {"network"},
	"github.com/moby/docker-image-spec":      {"oci"},
	"github.com/moby/moby/api":               {"*"},
	"github.com/moby/profiles":               {"spec", "runtime"},
	"github.com/moby/sys":                    {"engine", "snapshot", "cli", "buildkit"},
	"github.com/opencontainers/go-digest":    {"*"},
	"github.com/opencontainers/image-spec":   {"*"},
	"github.com/opencontainers/runtime-spec": {"cdi", "spec", "runtime", "shim", "engine", "build", "cmd"},
	"github.com/package-url/packageurl-go":   {"build"},
	"github.com/prometheus/client_golang":    {"registry", "server"},
	"github.com/rogpeppe/go-internal":        {"test"},
	"github.com/sirupsen/logrus":             {"cli"},
	"github.com/spf13/cobra":                 {"cli"},
	"github.com/spf13/pflag":                 {"cli", "cmd"},
	"github.com/tinylib/msgp":                {"forward"},
	"github.com/ulikunitz/xz":                {"image", "archive"},
	"github.com/vishvananda/netlink":         {"network"},
	"github.com/vishvananda/netns":           {"network", "test"},
	"go.etcd.io/bbolt":                       {"state"},
	"go.yaml.in/yaml":                        {"test"},
	"go.opentelemetry.io/proto/otlp":         {"buildkit"},
	"golang.org/x/crypto":                    {"registry", "test"},
	"golang.org/x/net":                       {"server"},
	"golang.org/x/sync":                      {"*"},
	"golang.org/x/sys":                       {"sys", "runtime", "network", "cli"},
	"golang.org/x/term":                      {"cli"},

	"tags.cncf.io/container-device-interface": {"cdi"},
}

// file is one Go file of the module, as read from disk.
type file struct {
	path, pkg string // slash paths from the root; pkg is the folder
	test      bool
	lines     int
	ast       *ast.File
	set       *token.FileSet
}

// files parses every Go file itself: a test that asked the go command would be answered from the test cache.
func files(t *testing.T) []file {
	t.Helper()
	var all []file
	err := filepath.WalkDir(".", func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := e.Name()
		if e.IsDir() && p != "." && (strings.HasPrefix(name, ".") || name == "testdata" || name == "bin" || name == "dist") {
			return fs.SkipDir
		}
		if e.IsDir() || !strings.HasSuffix(name, ".go") {
			return nil
		}
		text, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		set := token.NewFileSet()
		tree, err := parser.ParseFile(set, p, text, parser.ParseComments)
		if err != nil {
			return err
		}
		slash := filepath.ToSlash(p)
		pkg := path.Dir(slash)
		if pkg == "." {
			pkg = ""
		}
		all = append(all, file{slash, pkg, strings.HasSuffix(name, "_test.go"), bytes.Count(text, []byte("\n")), tree, set})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 50 {
		t.Fatalf("only %d Go files found: the test does not see the module", len(all))
	}
	return all
}

// room is the first folder of a package: where it lives in the house.
func room(pkg string) string {
	top, _, _ := strings.Cut(pkg, "/")
	return top
}

func imports(f file) []string {
	var out []string
	for _, spec := range f.ast.Imports {
		p, _ := strconv.Unquote(spec.Path.Value)
		out = append(out, p)
	}
	return out
}

func TestImportsOnlyPointDown(t *testing.T) {
	for _, f := range files(t) {
		from := room(f.pkg)
		if f.test && slices.Contains(beside, from) || from == "cmd" {
			continue
		}
		floor, known := floors[from]
		if !known && !slices.Contains(beside, from) {
			t.Errorf("%s: folder %q has no floor in the house", f.path, from)
			continue
		}
		for _, imported := range imports(f) {
			own, ok := strings.CutPrefix(imported, module+"/")
			if !ok {
				continue
			}
			to := room(own)
			switch {
			case to == from:
				// A nested folder is private to its parent and the siblings in it.
			case strings.Contains(own, "/"):
				t.Errorf("%s imports %s, which is private to %s", f.path, own, to)
			case to == "testkit" && (f.test || from == "test"):
			case from == "testkit" && floors[to] == 1:
			case floors[to] == 0 || floors[to] >= floor:
				t.Errorf("%s (floor %d) imports %s (floor %d)", f.path, floor, own, floors[to])
			}
		}
	}
}

func TestThirdPartyModulesHaveAHost(t *testing.T) {
	for _, f := range files(t) {
		for _, imported := range imports(f) {
			first, _, _ := strings.Cut(imported, "/")
			if !strings.Contains(first, ".") || strings.HasPrefix(imported, module) {
				continue
			}
			var host string
			for m := range guests {
				if (imported == m || strings.HasPrefix(imported, m+"/")) && len(m) > len(host) {
					host = m
				}
			}
			if host == "" {
				t.Errorf("%s imports %s, a module without an entry in guests", f.path, imported)
				continue
			}
			if may := guests[host]; may[0] != "*" && !slices.Contains(may, room(f.pkg)) {
				t.Errorf("%s imports %s, which only %v may", f.path, imported, may)
			}
		}
	}
}

func TestPackagesHaveAComment(t *testing.T) {
	has := map[string]bool{}
	for _, f := range files(t) {
		if f.test {
			continue
		}
		has[f.pkg] = has[f.pkg] || f.ast.Doc != nil
	}
	for pkg, ok := range has {
		if !ok {
			t.Errorf("package %s has no comment", pkg)
		}
	}
}

func TestBudgets(t *testing.T) {
	lines := map[string]int{}
	own := map[string]map[string]bool{}
	for _, f := range files(t) {
		if f.lines > fileLines {
			t.Errorf("%s has %d lines, the budget is %d", f.path, f.lines, fileLines)
		}
		if !f.test {
			lines[f.pkg] += f.lines
			for _, i := range imports(f) {
				if o, ok := strings.CutPrefix(i, module+"/"); ok && room(f.pkg) != "cmd" {
					if own[f.pkg] == nil {
						own[f.pkg] = map[string]bool{}
					}
					own[f.pkg][o] = true
				}
			}
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				if l := span(f, n); l > functionLines && !f.test {
					t.Errorf("%s: %s has %d lines, the budget is %d", f.path, n.Name.Name, l, functionLines)
				}
			case *ast.InterfaceType:
				if n.Methods.NumFields() > interfaceSize {
					t.Errorf("%s:%d: an interface of %d methods, the budget is %d", f.path, f.set.Position(n.Pos()).Line, n.Methods.NumFields(), interfaceSize)
				}
			}
			return true
		})
	}
	for pkg, n := range lines {
		if n > packageLines {
			t.Errorf("package %s has %d lines, the budget is %d", pkg, n, packageLines)
		}
	}
	for pkg, set := range own {
		if len(set) > ownImports {
			t.Errorf("package %s imports %d packages of our own, the budget is %d", pkg, len(set), ownImports)
		}
	}
}

func span(f file, n ast.Node) int {
	return f.set.Position(n.End()).Line - f.set.Position(n.Pos()).Line + 1
}

// TestKernelStaysInItsRooms keeps x/sys/unix and unsafe out of everywhere but the rooms made for them.
func TestKernelStaysInItsRooms(t *testing.T) {
	rooms := []string{"sys", "runtime", "network", "cmd"}
	for _, f := range files(t) {
		if f.test {
			continue
		}
		for _, i := range imports(f) {
			kernel := i == "unsafe" || i == "golang.org/x/sys/unix" || i == "C"
			if kernel && !slices.Contains(rooms, room(f.pkg)) && !(room(f.pkg) == "cli" && i == "golang.org/x/sys/unix") {
				t.Errorf("%s imports %s outside the kernel's rooms", f.path, i)
			}
			if i == "C" {
				t.Errorf("%s uses cgo", f.path)
			}
		}
		for _, d := range f.ast.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" && room(f.pkg) != "cmd" {
				t.Errorf("%s has an init function: wiring is one function in cmd", f.path)
			}
		}
	}
}
