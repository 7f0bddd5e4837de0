// Package testkit makes what tests feed the engine: crafted images, layer by layer and entry by entry, and a registry
// that can be told to misbehave. Only tests import it.
package testkit

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
)

// Image is a crafted image: its documents and the blobs they name. Documents may lie where the recipe says so.
type Image struct {
	Config, Manifest []byte
	MediaType        string
	Layers           [][]byte
	DiffIDs          []digest.Digest
}

// layer is one layer of a recipe.
type layer struct {
	options map[string]string
	tar     bytes.Buffer
	w       *tar.Writer
}

// recipe collects what the lines of a recipe say.
type recipe struct {
	layers           []*layer
	config, manifest map[string]any
	diffs            map[int]digest.Digest
	base             *Image
}

// Craft follows a recipe, one item a line or after a semicolon:
//
//	L [comp=none|gzip|gzip2|zstd|zstd2] [pad=N] [rawpad=N] [cut=N] [same=K] [size=+N] [media=TYPE]
//	d PATH · f PATH TEXT · s PATH TARGET · h PATH LINK · w PATH · c PATH MAJOR MINOR · p PATH · z PATH BYTES
//	   followed by mode=OCT uid=N gid=N mtime=N xattr:NAME=HEX
//	C JSON     merged into the config      M JSON  merged into the manifest (null drops a key)
//	diff K DIGEST   overrides diff ID K of the crafted layers, counted from 1
//
// gzip2 and zstd2 are streams of two members; pad appends zeros to the tar, rawpad to the compressed stream; cut drops
// the blob's last bytes; same=K takes layer K again, base layers counted; size lies in the manifest. base may be nil.
func Craft(text string, base *Image) (*Image, error) {
	r := &recipe{config: map[string]any{}, manifest: map[string]any{}, diffs: map[int]digest.Digest{}, base: base}
	for _, line := range strings.FieldsFunc(text, func(c rune) bool { return c == '\n' }) {
		items := strings.Split(line, ";")
		if t := strings.TrimSpace(line); strings.HasPrefix(t, "C ") || strings.HasPrefix(t, "M ") {
			items = []string{line}
		}
		for _, item := range items {
			if err := r.add(strings.TrimSpace(item)); err != nil {
				return nil, fmt.Errorf("recipe %q: %w", item, err)
			}
		}
	}
	return r.make()
}

func (r *recipe) add(item string) error {
	words := splitWords(item)
	if len(words) == 0 || strings.HasPrefix(words[0], "#") {
		return nil
	}
	switch words[0] {
	case "C":
		return json.Unmarshal([]byte(item[1:]), &r.config)
	case "M":
		return json.Unmarshal([]byte(item[1:]), &r.manifest)
	case "diff":
		k, err := strconv.Atoi(words[1])
		r.diffs[k] = digest.Digest(words[2])
		return err
	case "L":
		l := &layer{options: map[string]string{"comp": "gzip"}}
		l.w = tar.NewWriter(&l.tar)
		for _, o := range words[1:] {
			k, v, _ := strings.Cut(o, "=")
			l.options[k] = v
		}
		r.layers = append(r.layers, l)
		return nil
	}
	if len(r.layers) == 0 {
		return fmt.Errorf("an entry before the first layer")
	}
	return r.layers[len(r.layers)-1].entry(words)
}

var kinds = map[string]byte{"d": tar.TypeDir, "f": tar.TypeReg, "w": tar.TypeReg, "z": tar.TypeReg, "s": tar.TypeSymlink, "h": tar.TypeLink, "c": tar.TypeChar, "p": tar.TypeFifo}

func (l *layer) entry(words []string) error {
	kind, known := kinds[words[0]]
	if !known || len(words) < 2 {
		return fmt.Errorf("unknown entry")
	}
	h := &tar.Header{Format: tar.FormatPAX, Name: words[1], Typeflag: kind, Mode: 0o644, ModTime: time.Unix(1500000000, 0), PAXRecords: map[string]string{}}
	if words[0] == "d" {
		h.Mode = 0o755
	}
	var rest []string
	for _, w := range words[2:] {
		k, v, ok := strings.Cut(w, "=")
		n, err := strconv.ParseInt(v, map[bool]int{true: 8, false: 10}[k == "mode"], 64)
		switch {
		case ok && strings.HasPrefix(k, "xattr:"):
			raw, err := hex.DecodeString(v)
			if err != nil {
				return err
			}
			h.PAXRecords["SCHILY.xattr."+k[len("xattr:"):]] = string(raw)
		case ok && err == nil && k == "mode":
			h.Mode = n
		case ok && err == nil && k == "uid":
			h.Uid = int(n)
		case ok && err == nil && k == "gid":
			h.Gid = int(n)
		case ok && err == nil && k == "mtime":
			h.ModTime = time.Unix(n, 0)
		default:
			rest = append(rest, w)
		}
	}
	return l.write(words[0], h, rest)
}

func (l *layer) write(kind string, h *tar.Header, rest []string) error {
	first := ""
	if len(rest) > 0 {
		first = rest[0]
	}
	var body io.Reader = strings.NewReader("")
	switch kind {
	case "f":
		h.Size, body = int64(len(first)), strings.NewReader(first)
	case "z":
		n, err := strconv.ParseInt(first, 10, 64)
		if err != nil {
			return err
		}
		h.Size, body = n, io.LimitReader(zeros{}, n)
	case "s", "h":
		h.Linkname = first
	case "c":
		if len(rest) != 2 {
			return fmt.Errorf("a device needs two numbers")
		}
		h.Devmajor, _ = strconv.ParseInt(rest[0], 10, 64)
		h.Devminor, _ = strconv.ParseInt(rest[1], 10, 64)
	}
	if err := l.w.WriteHeader(h); err != nil {
		return err
	}
	_, err := io.Copy(l.w, body)
	return err
}

func (r *recipe) make() (*Image, error) {
	im := &Image{MediaType: "application/vnd.docker.distribution.manifest.v2+json"}
	var descriptors []any
	if r.base != nil {
		im.Layers, im.DiffIDs = slices.Clone(r.base.Layers), slices.Clone(r.base.DiffIDs)
		for _, blob := range im.Layers {
			descriptors = append(descriptors, descriptor(layerType(compressionOf(blob)), blob, 0))
		}
	}
	crafted := len(im.Layers)
	for _, l := range r.layers {
		blob, diffID, err := l.finish(im)
		if err != nil {
			return nil, err
		}
		lie, _ := strconv.ParseInt(strings.TrimPrefix(l.options["size"], "+"), 10, 64)
		media := l.options["media"]
		if media == "" {
			media = layerType(l.options["comp"])
		}
		im.Layers, im.DiffIDs = append(im.Layers, blob), append(im.DiffIDs, diffID)
		descriptors = append(descriptors, descriptor(media, blob, lie))
	}
	for k, d := range r.diffs {
		im.DiffIDs[crafted+k-1] = d
	}
	if err := r.documents(im, descriptors); err != nil {
		return nil, err
	}
	return im, nil
}

func (r *recipe) documents(im *Image, layers []any) error {
	var history []any
	for range im.DiffIDs {
		history = append(history, map[string]any{"created": "2020-01-01T00:00:00Z", "created_by": "craft"})
	}
	config := map[string]any{
		"architecture": runtime.GOARCH, "os": "linux", "history": history,
		"config": map[string]any{"Env": []string{"PATH=/bin:/usr/bin:/sbin:/usr/sbin"}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": im.DiffIDs},
	}
	if r.base != nil {
		var from map[string]any
		if err := json.Unmarshal(r.base.Config, &from); err != nil {
			return err
		}
		if from["config"] != nil {
			config["config"] = from["config"]
		}
	}
	merge(config, r.config)
	var err error
	if im.Config, err = json.Marshal(config); err != nil {
		return err
	}
	manifest := map[string]any{
		"schemaVersion": 2, "mediaType": im.MediaType, "layers": layers,
		"config": descriptor("application/vnd.docker.container.image.v1+json", im.Config, 0),
	}
	merge(manifest, r.manifest)
	if media, ok := manifest["mediaType"].(string); ok {
		im.MediaType = media
	}
	im.Manifest, err = json.Marshal(manifest)
	return err
}

func merge(into, from map[string]any) {
	maps.Copy(into, from)
	maps.DeleteFunc(into, func(_ string, v any) bool { return v == nil })
}

func (l *layer) finish(im *Image) ([]byte, digest.Digest, error) {
	if same := l.options["same"]; same != "" {
		k, err := strconv.Atoi(same)
		if err != nil || k < 1 || k > len(im.Layers) {
			return nil, "", fmt.Errorf("no layer %s", same)
		}
		return im.Layers[k-1], im.DiffIDs[k-1], nil
	}
	if err := l.w.Close(); err != nil {
		return nil, "", err
	}
	raw := append(l.tar.Bytes(), make([]byte, number(l.options["pad"]))...)
	blob, err := compress(raw, l.options["comp"])
	if err != nil {
		return nil, "", err
	}
	blob = append(blob, make([]byte, number(l.options["rawpad"]))...)
	return blob[:len(blob)-number(l.options["cut"])], digest.FromBytes(raw), nil
}

func number(text string) int {
	n, _ := strconv.Atoi(text)
	return n
}

func compress(raw []byte, how string) ([]byte, error) {
	half := len(raw) / 2
	var out bytes.Buffer
	parts := [][]byte{raw}
	if strings.HasSuffix(how, "2") {
		parts = [][]byte{raw[:half], raw[half:]}
	}
	if how == "zstd2" {
		out.WriteString("\x50\x2a\x4d\x18\x04\x00\x00\x00skip") // a skippable frame, RFC 8878 section 3.1.2
	}
	for _, part := range parts {
		var w io.WriteCloser
		switch strings.TrimSuffix(how, "2") {
		case "none":
			return raw, nil
		case "gzip":
			w = gzip.NewWriter(&out)
		case "zstd":
			z, err := zstd.NewWriter(&out)
			if err != nil {
				return nil, err
			}
			w = z
		default:
			return nil, fmt.Errorf("no compression %q", how)
		}
		if _, err := w.Write(part); err != nil {
			return nil, err
		}
		if err := w.Close(); err != nil {
			return nil, err
		}
	}
	return out.Bytes(), nil
}

func compressionOf(blob []byte) string {
	if bytes.HasPrefix(blob, []byte{0x1f, 0x8b}) {
		return "gzip"
	}
	return "none"
}

func layerType(compression string) string {
	suffix := map[byte]string{'n': "", 'g': ".gzip", 'z': ".zstd"}[compression[0]]
	return "application/vnd.docker.image.rootfs.diff.tar" + suffix
}

func descriptor(media string, blob []byte, lie int64) map[string]any {
	return map[string]any{"mediaType": media, "size": int64(len(blob)) + lie, "digest": digest.FromBytes(blob).String()}
}

// zeros reads as zeros without end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// splitWords splits as a shell does, with single and double quotes.
func splitWords(s string) []string {
	var words []string
	var word strings.Builder
	var quote rune
	open := false
	for _, c := range s {
		switch {
		case quote != 0 && c == quote:
			quote = 0
		case quote == 0 && (c == '\'' || c == '"'):
			quote, open = c, true
		case quote == 0 && (c == ' ' || c == '\t'):
			if open {
				words = append(words, word.String())
				word.Reset()
			}
			open = false
		default:
			word.WriteRune(c)
			open = true
		}
	}
	if open {
		words = append(words, word.String())
	}
	return words
}
