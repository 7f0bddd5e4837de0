// Package hello makes the image that needs no registry: the engine's own static program as a container.
package hello

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"time"

	"github.com/opencontainers/go-digest"
)

// Name is the normalised name of the image that needs no registry.
const Name = "docker.io/library/hello:latest"

const greeting = `Hello from Cove: this is a file of the image's first layer.
`

// Image makes the archive of the built-in image from the engine's own static runtime program, whose "hello" verb
// tells what a container sees. Two layers: a text, and the program. It is as old as the program's file; the same file
// gives the same bytes.
func Image(runtimeBinary string) (io.ReadCloser, error) {
	program, err := os.ReadFile(runtimeBinary)
	if err != nil {
		return nil, fmt.Errorf("make the hello image: %w", err)
	}
	info, err := os.Stat(runtimeBinary)
	if err != nil {
		return nil, fmt.Errorf("make the hello image: %w", err)
	}
	created := info.ModTime().UTC().Format(time.RFC3339)
	text, err := layer(&tar.Header{Name: "hello.txt", Mode: 0o644}, []byte(greeting))
	if err != nil {
		return nil, err
	}
	binary, err := layer(&tar.Header{Name: "hello", Mode: 0o755}, program)
	if err != nil {
		return nil, err
	}
	config, err := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH, "os": "linux", "created": created,
		"config": map[string]any{"Entrypoint": []string{"/hello", "hello"}, "Env": []string{"PATH=/"}, "Labels": map[string]string{"org.opencontainers.image.title": "hello"}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []digest.Digest{digest.FromBytes(text), digest.FromBytes(binary)}},
		"history": []map[string]string{
			{"created": created, "created_by": "hello.txt"}, {"created": created, "created_by": "/hello"},
		},
	})
	if err != nil {
		return nil, err
	}
	return archive(config, text, binary)
}

func archive(config []byte, layers ...[]byte) (io.ReadCloser, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	entry := map[string]any{"Config": digest.FromBytes(config).Encoded() + ".json", "RepoTags": []string{"hello:latest"}}
	files := map[string][]byte{entry["Config"].(string): config}
	order := []string{entry["Config"].(string)}
	var names []string
	for _, l := range layers {
		name := digest.FromBytes(l).Encoded() + "/layer.tar"
		names, order, files[name] = append(names, name), append(order, name), l
	}
	entry["Layers"] = names
	manifest, err := json.Marshal([]any{entry})
	if err != nil {
		return nil, err
	}
	files["manifest.json"], order = manifest, append(order, "manifest.json")
	for _, name := range order {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(files[name]))}); err != nil {
			return nil, err
		}
		if _, err := w.Write(files[name]); err != nil {
			return nil, err
		}
	}
	return io.NopCloser(&out), w.Close()
}

func layer(h *tar.Header, body []byte) ([]byte, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	h.Typeflag, h.Size = tar.TypeReg, int64(len(body))
	if err := w.WriteHeader(h); err != nil {
		return nil, err
	}
	if _, err := w.Write(body); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
