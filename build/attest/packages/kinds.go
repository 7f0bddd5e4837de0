package packages

import (
	"bytes"
	"debug/buildinfo"
	"encoding/json"
	"io"
	"runtime/debug"
	"strings"
)

func (f *finder) debian(name string, r io.Reader) error {
	return paragraphs(r, ":", func(fields map[string]string) {
		if status, told := fields["Status"]; told && !strings.HasSuffix(status, " installed") {
			return
		}
		f.add(Package{
			Kind: "deb", Name: fields["Package"], Version: fields["Version"], Arch: fields["Architecture"],
			Maintainer: fields["Maintainer"], Distro: f.distro,
		}, name)
	})
}

func (f *finder) alpine(name string, r io.Reader) error {
	return paragraphs(r, ":", func(fields map[string]string) {
		f.add(Package{
			Kind: "apk", Name: fields["P"], Version: fields["V"], Arch: fields["A"], License: fields["L"],
			Maintainer: fields["m"], Distro: f.distro,
		}, name)
	})
}

func (f *finder) npm(name string, r io.Reader) error {
	var p struct {
		Name, Version string
		License       any
	}
	if err := json.NewDecoder(r).Decode(&p); err != nil {
		return err
	}
	license, _ := p.License.(string)
	f.add(Package{Kind: "npm", Name: p.Name, Version: p.Version, License: license}, name)
	return nil
}

func (f *finder) python(name string, r io.Reader) error {
	first := true
	return paragraphs(r, ":", func(fields map[string]string) {
		if !first { // what follows the first paragraph is a text
			return
		}
		first = false
		if fields["Metadata-Version"] == "" {
			return
		}
		license := fields["License-Expression"]
		if license == "" {
			license = fields["License"]
		}
		f.add(Package{
			Kind: "pypi", Name: strings.ToLower(strings.ReplaceAll(fields["Name"], "_", "-")), Version: fields["Version"], License: license,
		}, name)
	})
}

// elf is what a program begins with.
var elf = []byte("\x7fELF")

// program lists the modules that a Go program was made of.
func (f *finder) program(name string) {
	file, err := f.root.Open(name)
	if err != nil {
		return
	}
	defer file.Close()
	head := make([]byte, len(elf))
	if n, err := file.ReadAt(head, 0); n < len(head) || err != nil || !bytes.Equal(head, elf) {
		return
	}
	info, err := buildinfo.Read(file)
	if err != nil {
		return
	}
	f.add(Package{Kind: "golang", Name: "stdlib", Version: strings.TrimPrefix(info.GoVersion, "go")}, name)
	if info.Main.Version != "" && info.Main.Version != "(devel)" {
		f.module(&info.Main, name)
	}
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		f.module(m, name)
	}
}

func (f *finder) module(m *debug.Module, from string) {
	f.add(Package{Kind: "golang", Name: m.Path, Version: m.Version}, from)
}
