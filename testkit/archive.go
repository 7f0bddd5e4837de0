package testkit

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/go-digest"
)

// Images is the folder of real images: $COVE_TEST_IMAGES, or shared/images beside the repository. dir is the
// repository's root.
func Images(dir string) (string, error) {
	folder := os.Getenv("COVE_TEST_IMAGES")
	if folder == "" {
		folder = filepath.Join(dir, "..", "shared", "images")
	}
	if _, err := os.Stat(filepath.Join(folder, "busybox.tar")); err != nil {
		return "", fmt.Errorf("no real images: set COVE_TEST_IMAGES to a folder that holds busybox.tar: %w", err)
	}
	return folder, nil
}

// DockerArchive is the image as `docker load` reads it, under name; an empty name leaves it untagged.
func (im *Image) DockerArchive(name string) ([]byte, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	add := func(path string, body []byte) error {
		if err := w.WriteHeader(&tar.Header{Name: path, Mode: 0o644, Size: int64(len(body))}); err != nil {
			return err
		}
		_, err := w.Write(body)
		return err
	}
	entry := map[string]any{"Config": digest.FromBytes(im.Config).Encoded() + ".json"}
	var errs []error
	var layers []string
	for i, blob := range im.Layers {
		path := fmt.Sprintf("%d/layer.tar", i)
		layers = append(layers, path)
		errs = append(errs, add(path, blob))
	}
	entry["Layers"] = layers
	if name != "" {
		entry["RepoTags"] = []string{name}
	}
	index, err := json.Marshal([]any{entry})
	errs = append(errs, err, add(digest.FromBytes(im.Config).Encoded()+".json", im.Config), add("manifest.json", index), w.Close())
	return out.Bytes(), errors.Join(errs...)
}

// FromLayout reads the image for linux and arch out of an OCI layout in a tar archive.
func FromLayout(archive io.Reader, arch string) (*Image, error) {
	files := map[string][]byte{}
	for r := tar.NewReader(archive); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if files[strings.TrimPrefix(h.Name, "./")], err = io.ReadAll(r); err != nil {
			return nil, err
		}
	}
	type ref struct {
		MediaType string
		Digest    digest.Digest
		Platform  struct{ Architecture string }
	}
	var index struct{ Manifests []ref }
	blob := func(d digest.Digest) []byte { return files["blobs/"+d.Algorithm().String()+"/"+d.Encoded()] }
	if err := json.Unmarshal(files["index.json"], &index); err != nil {
		return nil, fmt.Errorf("read index.json: %w", err)
	}
	for len(index.Manifests) > 0 {
		found := index.Manifests[0]
		for _, m := range index.Manifests {
			if m.Platform.Architecture == arch {
				found = m
			}
		}
		if !strings.Contains(found.MediaType, "index") && !strings.Contains(found.MediaType, "list") {
			return fromManifest(blob(found.Digest), found.MediaType, blob)
		}
		index.Manifests = nil
		if err := json.Unmarshal(blob(found.Digest), &index); err != nil {
			return nil, fmt.Errorf("read %s: %w", found.Digest, err)
		}
	}
	return nil, fmt.Errorf("no image for %s in the archive", arch)
}

func fromManifest(raw []byte, media string, blob func(digest.Digest) []byte) (*Image, error) {
	var m struct {
		Config struct{ Digest digest.Digest }
		Layers []struct{ Digest digest.Digest }
	}
	if err := json.Unmarshal(raw, &m); err != nil {
		return nil, err
	}
	im := &Image{Manifest: raw, MediaType: media, Config: blob(m.Config.Digest)}
	var config struct {
		RootFS struct {
			DiffIDs []digest.Digest `json:"diff_ids"`
		} `json:"rootfs"`
	}
	if err := json.Unmarshal(im.Config, &config); err != nil {
		return nil, err
	}
	im.DiffIDs = config.RootFS.DiffIDs
	for _, l := range m.Layers {
		im.Layers = append(im.Layers, blob(l.Digest))
	}
	return im, nil
}
