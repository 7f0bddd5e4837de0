package main

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// pulls measures a cold pull of a Debian image, in one layer and split into several, from a local docker-registry, against
// unpacking the same layers with `gzip -dc | tar x`.
func (b *bench) pulls(rounds int, debian string) error {
	registry, err := b.registry()
	if err != nil {
		return err
	}
	for _, parts := range []int{1, 4} {
		archive, layers, err := b.split(debian, parts)
		if err != nil {
			return err
		}
		image := fmt.Sprintf("%s/debian:%d", registry, parts)
		if err := must(exec.Command("skopeo", "copy", "-q", "--dest-tls-verify=false", "docker-archive:"+archive, "docker://"+image)); err != nil {
			return err
		}
		rows := []samples{{name: "cove"}, {name: "gzip|tar"}}
		p := b.peers[0]
		for range rounds {
			must(p.forget(image))
			settle()
			rows[0].timed(p.pull(image))
			out := filepath.Join(b.dir, "untar")
			settle()
			start := time.Now()
			if err := os.MkdirAll(out, 0o755); err != nil {
				return err
			}
			for _, l := range layers {
				if err := must(exec.Command("sh", "-c", `gzip -dc "$0" | tar -C "$1" -x`, l, out)); err != nil {
					return err
				}
			}
			if err := must(exec.Command("sync", "-f", out)); err != nil {
				return err
			}
			rows[1].times = append(rows[1].times, time.Since(start))
			os.RemoveAll(out)
		}
		must(p.forget(image))
		print(fmt.Sprintf("cold pull of a Debian image, %d layer(s), against gzip -dc | tar x && sync -f", parts), rows)
	}
	return nil
}

// settle lets what went before reach the disk and, where an engine deletes in the background, come to its end.
func settle() {
	time.Sleep(3 * time.Second)
	syscall.Sync()
}

// registry starts Debian's docker-registry on loopback.
func (b *bench) registry() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	addr := l.Addr().String()
	l.Close()
	config := filepath.Join(b.dir, "registry.yml")
	text := fmt.Sprintf("version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\nstorage: {filesystem: {rootdirectory: %s}}\nhttp: {addr: %q}\n", filepath.Join(b.dir, "registry"), addr)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return "", err
	}
	cmd := exec.Command("docker-registry", "serve", config)
	if err := cmd.Start(); err != nil {
		return "", err
	}
	b.undo = append(b.undo, func() { cmd.Process.Kill(); cmd.Wait() })
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if c, err := net.Dial("tcp", addr); err == nil {
			c.Close()
			return addr, nil
		}
	}
	return "", errors.New("docker-registry does not answer")
}

// split makes an archive whose one layer is dealt out to n layers by top folders, and the same layers gzipped.
func (b *bench) split(debian string, n int) (archive string, layers []string, err error) {
	f, err := os.Open(debian)
	if err != nil {
		return "", nil, err
	}
	defer f.Close()
	root := filepath.Join(b.dir, "split-root")
	if err := os.MkdirAll(root, 0o755); err != nil {
		return "", nil, err
	}
	defer os.RemoveAll(root)
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return "", nil, err
		}
		if strings.HasSuffix(h.Name, "layer.tar") {
			untar := exec.Command("tar", "-C", root, "-x")
			untar.Stdin = r
			if err := must2(untar); err != nil {
				return "", nil, err
			}
		}
	}
	work := filepath.Join(b.dir, fmt.Sprintf("split%d", n))
	script := `set -eu
root=$1 work=$2 n=$3
mkdir -p "$work"; cd "$root"
for i in $(seq "$n"); do : > "$work/list$i"; done
if [ "$n" = 1 ]; then echo . > "$work/list1"; else
  # Leaves dealt out by size: the largest first, each to the lightest list.
  find . -type d | sort > "$work/dirs"
  find . ! -type d -printf '%s\t%p\n' | sort -rn | awk -v n="$n" -v w="$work" -F'\t' '{m=1; for(i=2;i<=n;i++) if(s[i]<s[m]) m=i; s[m]+=$1+512; print $2 > (w "/list" m)}'
  cat "$work/dirs" "$work/list1" > "$work/l"; mv "$work/l" "$work/list1"
fi
diffs= names=
for i in $(seq "$n"); do
  mkdir -p "$work/$i"
  if [ "$n" = 1 ]; then tar -cf "$work/$i/layer.tar" .; else tar --no-recursion -T "$work/list$i" -cf "$work/$i/layer.tar"; fi
  d=$(sha256sum "$work/$i/layer.tar" | cut -d" " -f1)
  diffs="$diffs${diffs:+,}\"sha256:$d\"" names="$names${names:+,}\"$i/layer.tar\""
  gzip -c "$work/$i/layer.tar" > "$work/$i.gz"
done
printf '{"architecture":"%s","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":[%s]}}' "$(dpkg --print-architecture)" "$diffs" > "$work/config.json"
printf '[{"Config":"config.json","RepoTags":["debian:split"],"Layers":[%s]}]' "$names" > "$work/manifest.json"
cd "$work"; tar -cf image.tar manifest.json config.json $(seq -f '%g/layer.tar' "$n")
`
	if err := must(exec.Command("sh", "-c", script, "sh", root, work, fmt.Sprint(n))); err != nil {
		return "", nil, err
	}
	for i := range n {
		layers = append(layers, filepath.Join(work, fmt.Sprintf("%d.gz", i+1)))
	}
	return filepath.Join(work, "image.tar"), layers, nil
}
