package build

import (
	"archive/tar"
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/ociindex"
	"github.com/moby/buildkit/frontend/dockerfile/dfgitutil"
	"github.com/moby/buildkit/identity"
	"github.com/moby/buildkit/session/upload/uploadprovider"
	"github.com/tonistiigi/fsutil"
)

const maxDockerfile = 2 << 20 // what is read of a Dockerfile that is fetched

// input is where a build's files come from, as the daemon is told.
type input struct {
	opt *client.SolveOpt
	// source is what the user knows the Dockerfile as; warnings name it.
	source string
	// fetch is the address of a Dockerfile the daemon has to fetch first.
	fetch string
	temp  []string
}

// release removes what was put into temporary folders.
func (in *input) release() {
	for _, dir := range in.temp {
		_ = os.RemoveAll(dir)
	}
}

// inputs finds out what the context and the Dockerfile are and fills opt accordingly.
func (o *options) inputs(stdin io.Reader, opt *client.SolveOpt) (*input, error) {
	in := &input{opt: opt, source: o.file}
	err := in.context(o.context, o.file, stdin)
	if err == nil {
		err = in.named(o.contexts)
	}
	if err != nil {
		in.release()
		return nil, err
	}
	return in, nil
}

func (in *input) context(path, file string, stdin io.Reader) error {
	if path == "-" && file == "-" {
		return errors.New("invalid argument: can't use stdin for both build context and dockerfile")
	}
	if file == "" {
		in.source = filepath.Join(path, "Dockerfile")
	}
	switch {
	case path == "":
		return errors.New(`please specify build context (e.g. "." for the current directory)`)
	case path == "-":
		return in.fromStdin(file, stdin)
	case isFolder(path):
		in.opt.SharedKey = sharedKey(path)
		if err := in.mount("context", path); err != nil {
			return err
		}
		if file == "" {
			return in.dockerfile(path, "Dockerfile")
		}
		return in.dockerfileAt(file, stdin)
	case isRemote(path):
		in.opt.FrontendAttrs["context"] = path
		if file == "-" || filepath.IsAbs(file) || isHTTP(file) {
			in.opt.FrontendAttrs["dockerfilekey"] = "dockerfile"
			return in.dockerfileAt(file, stdin)
		}
		in.opt.FrontendAttrs["filename"] = file // below the context; empty is Dockerfile
		if file == "" {
			in.opt.FrontendAttrs["filename"] = "Dockerfile"
		}
		return nil
	}
	return fmt.Errorf("unable to prepare context: path %q not found", path)
}

// fromStdin takes what comes for the context if it is an archive, else for the Dockerfile of an empty one.
func (in *input) fromStdin(file string, stdin io.Reader) error {
	ahead := bufio.NewReaderSize(stdin, 4096)
	head, err := ahead.Peek(1024)
	if err != nil && err != io.EOF {
		return fmt.Errorf("failed to peek context header from STDIN: %w", err)
	}
	if isArchive(head) {
		up := uploadprovider.New()
		in.opt.Session = append(in.opt.Session, up)
		in.opt.FrontendAttrs["context"] = up.Add(io.NopCloser(ahead))
		in.opt.FrontendAttrs["filename"] = file
		if file == "" {
			in.opt.FrontendAttrs["filename"] = "Dockerfile"
		}
		return nil
	}
	if file != "" {
		return errors.New("ambiguous Dockerfile source: both stdin and flag correspond to Dockerfiles")
	}
	empty, err := in.tempDir()
	if err == nil {
		err = in.mount("context", empty)
	}
	if err != nil {
		return err
	}
	return in.dockerfileAt("-", ahead)
}

// dockerfileAt takes the Dockerfile from standard input, from an address, or from a file that need not be in the context.
func (in *input) dockerfileAt(file string, stdin io.Reader) error {
	switch {
	case file == "-":
		in.source = "stdin"
		return in.dockerfileOf(stdin)
	case isHTTP(file):
		in.fetch = file
		return nil
	}
	return in.dockerfile(filepath.Dir(file), filepath.Base(file))
}

// dockerfileOf sends a Dockerfile that is in no folder.
func (in *input) dockerfileOf(r io.Reader) error {
	dir, err := in.tempDir()
	if err != nil {
		return err
	}
	f, err := os.Create(filepath.Join(dir, "Dockerfile"))
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return fmt.Errorf("read Dockerfile: %w", err)
	}
	in.opt.FrontendAttrs["dockerfilekey"] = "dockerfile"
	return in.dockerfile(dir, "Dockerfile")
}

func (in *input) dockerfile(dir, name string) error {
	in.opt.FrontendAttrs["filename"] = existingCase(dir, name)
	return in.mount("dockerfile", dir)
}

// existingCase gives "dockerfile" where only that is there, as it always was with docker.
func existingCase(dir, name string) string {
	if name != "Dockerfile" {
		return name
	}
	entries, _ := os.ReadDir(dir)
	named := func(name string) bool {
		return slices.ContainsFunc(entries, func(e os.DirEntry) bool { return e.Name() == name })
	}
	if !named("Dockerfile") && named("dockerfile") {
		return "dockerfile"
	}
	return name
}

func (in *input) tempDir() (string, error) {
	dir, err := os.MkdirTemp("", "cove-build-")
	if err == nil {
		in.temp = append(in.temp, dir)
	}
	return dir, err
}

// mount lets the daemon ask for what it needs of a folder.
func (in *input) mount(name, dir string) error {
	files, err := fsutil.NewFS(dir)
	if err != nil {
		return err
	}
	in.opt.LocalMounts[name] = files
	return nil
}

// named fills in the contexts of --build-context.
func (in *input) named(list []string) error {
	contexts, err := parseContexts(list)
	if err != nil {
		return err
	}
	for name, where := range contexts {
		in.opt.FrontendAttrs["frontend.caps"] = "moby.buildkit.frontend.contexts+forward"
		if layout, ok := strings.CutPrefix(where, "oci-layout://"); ok {
			if where, err = in.layout(layout); err != nil {
				return err
			}
		} else if !isRemote(where) && !strings.HasPrefix(where, "docker-image://") {
			if where, err = in.namedFolder(name, where); err != nil {
				return err
			}
		}
		in.opt.FrontendAttrs["context:"+name] = where
	}
	return nil
}

func (in *input) namedFolder(name, dir string) (string, error) {
	st, err := os.Stat(dir)
	if err != nil {
		return "", fmt.Errorf("failed to get build context %s: %w", name, err)
	}
	if !st.IsDir() {
		return "", fmt.Errorf("failed to get build context path %s: not a directory", dir)
	}
	key := name
	if name == "context" || name == "dockerfile" {
		key = "_" + name // those are the build's own
	}
	return "local:" + key, in.mount(key, dir)
}

// layout lets the daemon read an OCI layout, PATH[:TAG][@DIGEST].
func (in *input) layout(where string) (string, error) {
	path, digest, pinned := strings.Cut(where, "@")
	path, tag, tagged := strings.Cut(path, ":")
	if !tagged {
		tag = "latest"
	}
	if !pinned {
		index := ociindex.NewStoreIndex(path)
		found, err := index.Get(tag)
		if err == nil && found == nil {
			found, err = index.GetSingle()
		}
		if err == nil && found == nil {
			err = errors.New("failed to resolve digest")
		}
		if err != nil {
			return "", fmt.Errorf("oci-layout reference %q could not be resolved: %w", "oci-layout://"+where, err)
		}
		digest = found.Digest.String()
	}
	store, err := local.NewStore(path)
	if err != nil {
		return "", fmt.Errorf("invalid store at %s: %w", path, err)
	}
	if in.opt.OCIStores == nil {
		in.opt.OCIStores = map[string]content.Store{}
	}
	name := identity.NewID()
	in.opt.OCIStores[name] = store
	return "oci-layout://" + name + ":" + tag + "@" + digest, nil
}

// sharedKey names a folder of this machine: what the daemon has got of it before need not be sent again.
func sharedKey(path string) string {
	if full, err := filepath.Abs(path); err == nil {
		path = full
	}
	host, _ := os.Hostname()
	sum := sha256.Sum256([]byte(host + "\x00" + path))
	return filepath.Base(path) + ":" + hex.EncodeToString(sum[:12])
}

func isFolder(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.IsDir()
}

func isHTTP(s string) bool {
	return strings.HasPrefix(s, "http://") || strings.HasPrefix(s, "https://")
}

// isRemote tells whether the daemon fetches s: an address, or a repository of git.
func isRemote(s string) bool {
	if isHTTP(s) {
		return true
	}
	_, ok, err := dfgitutil.ParseGitRef(s)
	return ok && err == nil
}

// isArchive tells a tar archive, plain or compressed, by how it begins.
func isArchive(head []byte) bool {
	for _, magic := range []string{"BZh", "\x1f\x8b\x08", "\xfd7zXZ\x00", "\x28\xb5\x2f\xfd"} {
		if bytes.HasPrefix(head, []byte(magic)) {
			return true
		}
	}
	_, err := tar.NewReader(bytes.NewReader(head)).Next()
	return err == nil
}
