// Package packages finds out what is installed in a file system, from what package managers have written down there and
// what programs tell of themselves.
package packages

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/package-url/packageurl-go"
)

// Package is one thing that is installed.
type Package struct {
	// Kind is the type of a package URL: deb, apk, npm, pypi, golang.
	Kind, Name, Version string
	Arch                string
	License, Maintainer string
	// From is the file that tells of it, Distro the distribution whose package it is.
	From, Distro string
}

// URL is the package URL.
func (p *Package) URL() string {
	var q packageurl.Qualifiers
	if p.Arch != "" {
		q = append(q, packageurl.Qualifier{Key: "arch", Value: p.Arch})
	}
	space, name := "", p.Name
	switch p.Kind {
	case "deb", "apk":
		space, _, _ = strings.Cut(p.Distro, "-")
		if p.Distro != "" {
			q = append(q, packageurl.Qualifier{Key: "distro", Value: p.Distro})
		}
	case "npm", "golang":
		if i := strings.LastIndex(name, "/"); i > 0 {
			space, name = name[:i], name[i+1:]
		}
	}
	return packageurl.NewPackageURL(p.Kind, space, name, p.Version, q, "").ToString()
}

// Bounds of what is believed of a file system that anybody may have written.
const (
	maxPackages = 100_000
	maxFile     = 64 << 20
	maxManifest = 1 << 20
)

// finder looks through a file system.
type finder struct {
	root   *os.Root
	files  fs.FS
	distro string
	list   []Package
}

// Find lists what is installed below root, in order. What cannot be read as what it seems to be is passed over.
func Find(ctx context.Context, root *os.File) ([]Package, error) {
	dir, err := os.OpenRoot(fmt.Sprintf("/proc/self/fd/%d", root.Fd()))
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	f := &finder{root: dir, files: dir.FS()}
	f.distro = f.release()
	err = fs.WalkDir(f.files, ".", func(name string, e fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			if e != nil && e.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if len(f.list) >= maxPackages {
			return fs.SkipAll
		}
		if e.Type().IsRegular() {
			f.file(name, e)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(f.list, func(a, b Package) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Version, b.Version), cmp.Compare(a.From, b.From))
	})
	return slices.CompactFunc(f.list, func(a, b Package) bool {
		return a.Kind == b.Kind && a.Name == b.Name && a.Version == b.Version && a.Arch == b.Arch
	}), nil
}

// file looks at one file.
func (f *finder) file(name string, e fs.DirEntry) {
	base, dir := path.Base(name), path.Dir(name)
	switch {
	case name == "var/lib/dpkg/status", dir == "var/lib/dpkg/status.d" && !strings.HasSuffix(base, ".md5sums"):
		f.read(name, maxFile, f.debian)
	case name == "lib/apk/db/installed", name == "usr/lib/apk/db/installed":
		f.read(name, maxFile, f.alpine)
	case base == "package.json" && strings.Contains(dir, "node_modules/"):
		if parent := path.Base(path.Dir(dir)); parent == "node_modules" || strings.HasPrefix(parent, "@") {
			f.read(name, maxManifest, f.npm)
		}
	case base == "METADATA" && strings.HasSuffix(dir, ".dist-info"), base == "PKG-INFO" && strings.HasSuffix(dir, ".egg-info"), strings.HasSuffix(base, ".egg-info"):
		f.read(name, maxManifest, f.python)
	default:
		if info, err := e.Info(); err == nil && info.Mode()&0o111 != 0 && info.Size() > 1<<10 {
			f.program(name)
		}
	}
}

// read opens a file and lets do read it, up to a bound.
func (f *finder) read(name string, bound int64, do func(name string, r io.Reader) error) {
	file, err := f.root.Open(name)
	if err != nil {
		return
	}
	defer file.Close()
	_ = do(name, io.LimitReader(file, bound)) // what was understood before an error counts
}

// add takes a package in.
func (f *finder) add(p Package, from string) {
	if p.Name == "" || p.Version == "" {
		return
	}
	p.From = "/" + from
	f.list = append(f.list, p)
}

// release is the ID and version of the distribution.
func (f *finder) release() string {
	values := map[string]string{}
	for _, name := range []string{"etc/os-release", "usr/lib/os-release"} {
		f.read(name, maxManifest, func(_ string, r io.Reader) error {
			lines := bufio.NewScanner(r)
			for lines.Scan() {
				key, value, ok := strings.Cut(lines.Text(), "=")
				if ok && values[key] == "" {
					values[key] = strings.Trim(value, `"'`)
				}
			}
			return lines.Err()
		})
	}
	if values["VERSION_ID"] == "" {
		return values["ID"]
	}
	return values["ID"] + "-" + values["VERSION_ID"]
}

// paragraphs reads "Key: value" lines, a paragraph at a time; each ends with an empty line. Lines that continue others are left out.
func paragraphs(r io.Reader, separator string, do func(map[string]string)) error {
	lines := bufio.NewReader(r)
	fields := map[string]string{}
	for {
		line, err := lines.ReadString('\n')
		line = strings.TrimRight(line, "\r\n")
		switch key, value, ok := strings.Cut(line, separator); {
		case line == "":
			if len(fields) > 0 {
				do(fields)
			}
			fields = map[string]string{}
		case ok && line[0] != ' ' && line[0] != '\t':
			if _, twice := fields[key]; !twice {
				fields[key] = strings.TrimSpace(value)
			}
		}
		if err != nil {
			if len(fields) > 0 {
				do(fields)
			}
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return err
		}
	}
}
