package main

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/cove-containers/cove/testkit"
)

// writeAlpine turns the real image into a docker archive named alpine:bench, the form that every peer loads.
func writeAlpine(layout, out string) error {
	f, err := os.Open(layout)
	if err != nil {
		return err
	}
	defer f.Close()
	im, err := testkit.FromLayout(f, goarch())
	if err != nil {
		return err
	}
	archive, err := im.DockerArchive("alpine:bench")
	if err != nil {
		return err
	}
	return os.WriteFile(out, archive, 0o644)
}

// unpackBundle makes an OCI bundle of an archive's layers, with the document crun itself proposes.
func unpackBundle(archive, bundle string) error {
	root := filepath.Join(bundle, "rootfs")
	if err := os.MkdirAll(root, 0o755); err != nil {
		return err
	}
	f, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer f.Close()
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if filepath.Base(h.Name) != "layer.tar" {
			continue
		}
		untar := exec.Command("sh", "-c", `t=$(mktemp); cat > "$t"; tar -C "$0" -xf "$t"; rm "$t"`, root)
		untar.Stdin = r
		if err := must2(untar); err != nil {
			return err
		}
	}
	spec := exec.Command("crun", "spec")
	spec.Dir = bundle
	if err := must(spec); err != nil {
		return err
	}
	path := filepath.Join(bundle, "config.json")
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var doc map[string]any
	if err := json.Unmarshal(raw, &doc); err != nil {
		return err
	}
	process := doc["process"].(map[string]any)
	process["args"], process["terminal"] = []string{"/bin/true"}, false
	raw, err = json.Marshal(doc)
	if err != nil {
		return err
	}
	return os.WriteFile(path, raw, 0o644)
}

// must2 is must for a command that reads a stream.
func must2(cmd *exec.Cmd) error {
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w", cmd.Path, err)
	}
	return nil
}
