package test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// onDisk is the space the files below folders take, each file once however many names it has.
func onDisk(t *testing.T, folders ...string) int64 {
	t.Helper()
	seen := map[uint64]bool{}
	var total int64
	for _, dir := range folders {
		err := filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
			if err != nil || !e.Type().IsRegular() {
				return err
			}
			info, err := e.Info()
			if err != nil {
				return err
			}
			stat := info.Sys().(*syscall.Stat_t)
			if !seen[stat.Ino] {
				seen[stat.Ino] = true
				total += stat.Blocks * 512
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return total
}

// TestOwnRegistryStoresNothingTwice: what is pushed to the daemon's own registry, and what is pulled from it, is on the disk
// once; each of the two can do without the other; and both are there again after a crash.
func TestOwnRegistryStoresNothingTwice(t *testing.T) {
	needRoot(t)
	images(t)
	address := freeAddress()
	e := newEngine(t, "--registry-listen", address, "--registry-gc-grace", "1ms")
	e.Start()
	e.Load("busybox")
	blobs, shelf := filepath.Join(e.DataRoot, "blobs"), filepath.Join(e.DataRoot, "registry")
	content := onDisk(t, blobs)
	if content < 500_000 {
		t.Fatalf("an image of %d bytes shows nothing", content)
	}
	name := address + "/team/busybox:1"
	e.Run("cove", "tag", "busybox", name)
	e.Run("cove", "push", "-q", name)
	shared := func() int64 { return onDisk(t, blobs) + onDisk(t, shelf) - onDisk(t, blobs, shelf) }
	if n := shared(); n < content*9/10 {
		t.Errorf("only %d of %d bytes are shared after the push", n, content)
	}
	if out := e.Run("cove", "system", "check", "--deep"); !strings.Contains(out, "registry manifests") {
		t.Errorf("a check says nothing of the registry: %s", out)
	}
	// The engine forgets; the registry has it still.
	e.Run("cove", "rmi", "-f", name, "busybox")
	if left := onDisk(t, blobs); left > content/10 {
		t.Errorf("the engine keeps %d bytes of what it removed", left)
	}
	e.Kill()
	e.Start()
	e.Run("cove", "pull", "-q", name)
	if got := e.Run("cove", "run", "--rm", name, "echo", "back"); got != "back" {
		t.Errorf("run: %q", got)
	}
	if n, has := shared(), onDisk(t, blobs); n < has*9/10 {
		t.Errorf("only %d of %d bytes are shared after the pull", n, has)
	}
	// The registry forgets; the engine has it still.
	e.Run("cove", "registry", "rm", "--all-tags", address+"/team/busybox")
	time.Sleep(10 * time.Millisecond)
	e.Run("cove", "registry", "gc", "--untagged", address)
	if out := e.Run("cove", "registry", "du", "--json", address); !strings.Contains(out, `"bytes": 0`) {
		t.Errorf("the registry keeps: %s", out)
	}
	if got := e.Run("cove", "run", "--rm", name, "echo", "here"); got != "here" {
		t.Errorf("run: %q", got)
	}
	e.Run("cove", "push", "-q", name)
}

// TestRegistryTLS: a registry with a certificate is reached by who trusts it, and a renewed one counts without a restart.
func TestRegistryTLS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	write := func() []byte {
		pair, authority := certificate(t, "127.0.0.1")
		key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
		if err != nil {
			t.Fatal(err)
		}
		for file, text := range map[string][]byte{certFile: authority, keyFile: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})} {
			if err := os.WriteFile(file, text, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return authority
	}
	first := write()
	s := serve(t, t.TempDir(), "--tls-cert", certFile, "--tls-key", keyFile)
	try := func(authority []byte) error {
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(authority)
		c := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, DisableKeepAlives: true}}
		resp, err := c.Get("https://" + s.Host + "/v2/")
		if err == nil {
			resp.Body.Close()
		}
		return err
	}
	if err := try(first); err != nil {
		t.Fatal(err)
	}
	second := write()
	if err := try(second); err != nil {
		t.Errorf("the renewed certificate: %v", err)
	}
	if err := try(first); err == nil {
		t.Error("the old certificate is still shown")
	}
	if err := os.WriteFile(certFile, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := try(second); err != nil {
		t.Errorf("while the new certificate cannot be read: %v", err)
	}
}

// TestServeRefuses: options that contradict themselves end the registry with a word about it.
func TestServeRefuses(t *testing.T) {
	t.Parallel()
	bin, err := binaries()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for args, says := range map[string]string{
		"--tls-cert x":                              "tls-key",
		"--token":                                   "give htpasswd with token",
		"--token --htpasswd x --s3-bucket b":        "give token-key",
		"--s3-endpoint http://x":                    "give --s3-bucket",
		"--s3-bucket b --root /x":                   "either in --root or in --s3-bucket",
		"--quota lots":                              "invalid quota",
		"--quota a**=1":                             "must stand alone",
		"--max-manifest 0":                          "invalid max-manifest",
		"--proxy ftp://x":                           "invalid upstream",
		"--proxy-username u":                        "give proxy",
		"--proxy x --proxy-username u":              "go together",
		"--listen unix:///x":                        "invalid address",
		"--htpasswd " + dir + "/absent --listen :0": "no such file",
		"--listen 127.0.0.1:0 --gc-grace -1s":       "pushes would lose",
		"--listen 127.0.0.1:0 --upload-expiry 0":    "pushes would lose",
		"extra":                                     "unknown argument",
		"--nope":                                    "unknown flag",
		"--token --htpasswd x --token-expiry 5s":    "cannot be less",
	} {
		line := append([]string{"registry", "serve"}, strings.Fields(args)...)
		if !strings.Contains(args, "s3") {
			line = append(line, "--root", dir)
		}
		out, err := exec.Command(filepath.Join(bin, "coved"), line...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), says) {
			t.Errorf("%s: %v, %s, want %q", args, err, out, says)
		}
	}
	if out, err := exec.Command(filepath.Join(bin, "coved"), "registry", "sing").CombinedOutput(); err == nil || !strings.Contains(string(out), "registry serve") {
		t.Errorf("an unknown command: %v %s", err, out)
	}
	if out, err := exec.Command(filepath.Join(bin, "coved"), "registry", "serve", "--validate").CombinedOutput(); err != nil {
		t.Errorf("the defaults: %v %s", err, out)
	}
}

// TestRegistryQuota: a repository holds what its quota allows; the last pattern that fits counts.
func TestRegistryQuota(t *testing.T) {
	t.Parallel()
	s := serve(t, t.TempDir(), "--quota", "1MB", "--quota", "big/**=4MB", "--quota", "big/small=10KB")
	for name, status := range map[string]int{"x": 403, "big/x": 201, "big/small": 403} {
		body := bytes.Repeat([]byte(name+"."), 2_000_000/(len(name)+1))
		resp, err := http.Post(s.URL(name+"/blobs/uploads/?digest="+digest.FromBytes(body).String()), "application/octet-stream", bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != status {
			t.Errorf("2 MB into %s: %d, want %d", name, resp.StatusCode, status)
		}
	}
}
