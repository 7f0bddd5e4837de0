package main

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
)

// clients compares the command lines, each from its start to its end: cove with its engine, the stock client with dockerd, and the
// stock client with Cove's engine, which tells what of the difference is the client's. Every engine holds n containers and n images.
func (b *bench) clients(rounds, n int) error {
	b.peers = slices.DeleteFunc(b.peers, func(p *peer) bool { return p.socket == "" })
	archive := filepath.Join(b.dir, "many.tar")
	if err := writeImages(archive, n); err != nil {
		return err
	}
	for _, p := range b.peers {
		if err := must(p.call("load", "-q", "-i", archive)); err != nil {
			return err
		}
		if err := createMany(p.socket, p.alpineName, n); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	if docker, err := exec.LookPath("docker"); err == nil {
		env := []string{"DOCKER_HOST=unix://" + b.peers[0].socket, "HOME=" + b.dir}
		b.peers = append(b.peers, client(&peer{name: "docker > cove"}, env, docker))
	}
	fmt.Printf("command lines, %d containers and %d images each\n\n", n, n)
	for _, line := range []string{"version", "ps", "ps -a", "ps -aq", "images", "images -q", "inspect many0"} {
		b.table(line, rounds, func(p *peer) *exec.Cmd { return p.call(strings.Fields(line)...) })
	}
	return nil
}

// createMany creates containers without starting them, by plain requests.
func createMany(socket, image string, n int) error {
	asker := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
	defer asker.CloseIdleConnections()
	body := fmt.Sprintf(`{"Image":%q,"Cmd":["sleep","1000"],"Labels":{"bench":"client"}}`, image)
	for i := range n {
		resp, err := asker.Post(fmt.Sprintf("http://engine/v1.40/containers/create?name=many%d", i), "application/json", strings.NewReader(body))
		if err != nil {
			return err
		}
		said, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			return err
		}
		if resp.StatusCode != http.StatusCreated {
			return fmt.Errorf("create: %s: %s", resp.Status, said)
		}
	}
	return nil
}

// writeImages writes an archive of n images, each with a small layer of its own.
func writeImages(path string, n int) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	out := tar.NewWriter(f)
	var errs []error
	add := func(name string, content []byte) {
		errs = append(errs, out.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content))}))
		_, err := out.Write(content)
		errs = append(errs, err)
	}
	var manifest []any
	for i := range n {
		layer := oneFile("number", fmt.Sprint(i))
		config, err := json.Marshal(map[string]any{
			"architecture": goarch(), "os": "linux", "created": "2024-01-01T00:00:00Z", "config": map[string]any{"Cmd": []string{"/number"}},
			"rootfs": map[string]any{"type": "layers", "diff_ids": []digest.Digest{digest.FromBytes(layer)}},
		})
		errs = append(errs, err)
		name := digest.FromBytes(config).Encoded() + ".json"
		add(name, config)
		add(fmt.Sprintf("%d/layer.tar", i), layer)
		manifest = append(manifest, map[string]any{
			"Config": name, "RepoTags": []string{fmt.Sprintf("registry.example.com/team/app%d:1.0", i)}, "Layers": []string{fmt.Sprintf("%d/layer.tar", i)},
		})
	}
	raw, err := json.Marshal(manifest)
	errs = append(errs, err)
	add("manifest.json", raw)
	return errors.Join(append(errs, out.Close(), f.Close())...)
}

// oneFile is a layer with nothing else in it; writing into memory cannot fail.
func oneFile(name, content string) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	_ = w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content))})
	_, _ = w.Write([]byte(content))
	_ = w.Close()
	return b.Bytes()
}
