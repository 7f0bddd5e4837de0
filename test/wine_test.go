package test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// forwarder is a library for Windows that has one function, which another library carries out: "LIBRARY.function".
func forwarder(library, function, to string) []byte {
	const (
		headers, base = 0x200, 0x1000 // of the file; of the only section in memory
		tables        = 40            // where the export directory ends
	)
	names := tables + 4 + 4 + 2
	text := library + "\x00" + function + "\x00" + to + "\x00"
	at := func(s string) uint32 { return uint32(base + names + strings.Index(text, s+"\x00")) }
	var section bytes.Buffer
	put := func(b *bytes.Buffer, values ...any) {
		for _, v := range values {
			_ = binary.Write(b, binary.LittleEndian, v) // memory takes everything
		}
	}
	put(&section, uint32(0), uint32(0), uint32(0), at(library), uint32(1), uint32(1), uint32(1), uint32(base+tables), uint32(base+tables+4), uint32(base+tables+8))
	put(&section, at(to), at(function), uint16(0))
	section.WriteString(text)
	var b bytes.Buffer
	b.WriteString("MZ")
	b.Write(make([]byte, 58))
	put(&b, uint32(64))
	b.WriteString("PE\x00\x00")
	put(&b, uint16(0x8664), uint16(1), uint32(0), uint32(0), uint32(0), uint16(240), uint16(0x2022))
	put(&b, uint16(0x20b), uint16(0), uint32(0), uint32(headers), uint32(0), uint32(0), uint32(base)) // no code, so no entry
	put(&b, uint64(0x180000000), uint32(0x1000), uint32(0x200), uint32(6), uint32(0), uint32(6), uint32(0), uint32(2*base), uint32(headers), uint32(0))
	put(&b, uint16(3), uint16(0x100), uint64(1<<20), uint64(1<<12), uint64(1<<20), uint64(1<<12), uint32(0), uint32(16))
	put(&b, uint32(base), uint32(section.Len()))
	b.Write(make([]byte, 15*8))
	b.WriteString(".edata\x00\x00")
	put(&b, uint32(section.Len()), uint32(base), uint32(0x200), uint32(headers), uint32(0), uint32(0), uint32(0), uint32(0x40000040))
	b.Write(make([]byte, headers-b.Len()))
	b.Write(section.Bytes())
	b.Write(make([]byte, 2*headers-b.Len()))
	return b.Bytes()
}

// TestWine: cove.exe under Wine against an engine behind TCP and TLS.
func TestWine(t *testing.T) {
	needRoot(t)
	images(t)
	wine := "/usr/lib/wine/wine64"
	if _, err := os.Stat(wine); err != nil {
		t.Skip("Debian's wine64 is not installed; it takes 700 MB and a minute, so scripts/test does not install it: apt-get install wine64")
	}
	pems := identity(t)
	addr := fmt.Sprintf("tcp://127.0.0.1:%d", freePorts(1)[0])
	e := newEngine(t, "-H", addr, "--tlsverify", "--tlscacert", pems+"/ca.pem", "--tlscert", pems+"/cert.pem", "--tlskey", pems+"/key.pem")
	e.Start()
	e.Load("busybox")
	dir := filepath.Join(e.Dir, "windows")
	if err := os.MkdirAll(filepath.Join(dir, "site"), 0o755); err != nil {
		t.Fatal(err)
	}
	build := exec.Command("go", "build", "-o", dir+"/", "../cmd/cove", "../cmd/cove-build")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=windows", "GOARCH=amd64")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	prefix := filepath.Join(dir, "prefix")
	env := append(e.Env(), "WINEPREFIX="+prefix, "WINEDEBUG=-all", "COVE_HOST=", "DOCKER_HOST="+addr, "DOCKER_TLS_VERIFY=1", `DOCKER_CERT_PATH=Z:`+strings.ReplaceAll(pems, "/", `\`))
	run := func(args ...string) (string, error) {
		cmd := exec.Command(wine, args...)
		cmd.Env, cmd.Dir = env, dir
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		defer time.AfterFunc(3*time.Minute, func() { cmd.Process.Kill() }).Stop()
		err := cmd.Wait()
		return strings.ReplaceAll(out.String(), "\r\n", "\n"), err
	}
	defer func() {
		stop := exec.Command("/usr/lib/wine/wineserver64", "-k", "-w")
		stop.Env = env
		stop.Run()
	}()
	if out, err := run("wineboot", "-i"); err != nil {
		t.Fatalf("wineboot: %v: %s", err, out)
	}
	// Go's runtime wants this library for random numbers; the Wine of Debian 12 does not have it yet.
	library := filepath.Join(prefix, "drive_c", "windows", "system32", "bcryptprimitives.dll")
	if _, err := os.Stat(library); err != nil {
		if err := os.WriteFile(library, forwarder("bcryptprimitives.dll", "ProcessPrng", "advapi32.SystemFunction036"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{"Dockerfile": "FROM busybox\nCOPY page.html /\nCMD [\"cat\", \"/page.html\"]\n", "page.html": "from Windows\n"} {
		if err := os.WriteFile(filepath.Join(dir, "site", name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct{ args, want string }{
		{"version", "OS/Arch:           windows/amd64"},
		{"run --name said busybox echo hello from afar", "hello from afar\n"},
		{"ps -a", "said"},
		{"logs said", "hello from afar\n"},
		{"build -t page site", ""},
		{"run --rm page", "from Windows\n"},
		{`cp site\page.html said:/copied`, ""},
		{`cp said:/copied C:\back.html`, ""},
	} {
		out, err := run(append([]string{"cove.exe"}, strings.Fields(c.args)...)...)
		if err != nil || !strings.Contains(out, c.want) {
			t.Errorf("cove.exe %s: %v\n%s", c.args, err, out)
		}
	}
	if raw, err := os.ReadFile(filepath.Join(prefix, "drive_c", "back.html")); string(raw) != "from Windows\n" {
		t.Errorf("copied back: %q %v", raw, err)
	}
}
