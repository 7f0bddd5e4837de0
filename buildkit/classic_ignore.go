package buildkit

import (
	"archive/tar"
	"bytes"
	"cmp"
	"io"
	"os"
	"path"
	"slices"

	"github.com/moby/buildkit/session/filesync"
	"github.com/moby/buildkit/util/staticfs"
	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
	"github.com/tonistiigi/fsutil"
	"github.com/tonistiigi/fsutil/types"
	"google.golang.org/grpc"

	"github.com/cove-containers/cove/build"
)

const (
	ignoreFile    = ".dockerignore"
	maxIgnoreFile = 4 << 20 // and for a Dockerfile, which the front end bounds by itself
	block         = 512     // of an archive
)

// span is a part of an archive: from its first byte to before its last one.
type span struct{ from, to int64 }

// ignored are the files that a client sends in any case, for the builder to read them, though .dockerignore keeps them out of the
// context.
type ignored struct {
	spans      []span // where they are in the archive
	dockerfile []byte // nil: it stays in the context
}

// ignoring finds in an archive the Dockerfile and .dockerignore, if the latter names them. Clients have left out everything else that
// it names. What is no archive has none.
func ignoring(file *os.File, size int64, dockerfile string) (ignored, error) {
	patterns, err := ignorePatterns(io.NewSectionReader(file, 0, size))
	if err != nil || len(patterns) == 0 {
		return ignored{}, nil // what is wrong with it is the client's to say
	}
	unwanted := []string{ignoreFile, path.Clean("/" + cmp.Or(dockerfile, "Dockerfile"))[1:]}
	unwanted = slices.DeleteFunc(unwanted, func(name string) bool {
		match, err := patternmatcher.MatchesOrParentMatches(name, patterns)
		return err != nil || !match
	})
	if len(unwanted) == 0 {
		return ignored{}, nil
	}
	return spansOf(&counter{from: io.NewSectionReader(file, 0, size)}, unwanted)
}

// ignorePatterns reads .dockerignore; it seeks over everything else.
func ignorePatterns(archive io.ReadSeeker) (patterns []string, err error) {
	for files := tar.NewReader(archive); ; {
		h, err := files.Next()
		if err == io.EOF {
			return patterns, nil
		}
		if err != nil {
			return nil, err
		}
		if clean(h.Name) != ignoreFile || h.Typeflag != tar.TypeReg {
			continue
		}
		if patterns, err = ignorefile.ReadAll(io.LimitReader(files, maxIgnoreFile)); err != nil {
			return nil, err
		}
	}
}

func clean(name string) string { return path.Clean("/" + name)[1:] }

// counter tells how far an archive was read. It cannot seek, so that all of it counts.
type counter struct {
	from io.Reader
	at   int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.from.Read(p)
	c.at += int64(n)
	return n, err
}

// spansOf finds where files are in an archive, which of them the Dockerfile is last. Of what is no regular file nothing is taken out.
func spansOf(archive *counter, names []string) (found ignored, err error) {
	files := tar.NewReader(archive)
	for {
		from := (archive.at + block - 1) / block * block
		h, err := files.Next()
		if err == io.EOF {
			return found, nil
		}
		if err != nil {
			return ignored{}, err
		}
		var into io.Writer = io.Discard
		var body bytes.Buffer
		wanted := h.Typeflag == tar.TypeReg && slices.Contains(names, clean(h.Name))
		if wanted && clean(h.Name) != ignoreFile {
			into = &body
			wanted = h.Size <= maxIgnoreFile // the front end says that it is too large
		}
		if !wanted {
			into = io.Discard
		}
		if _, err := io.Copy(into, files); err != nil {
			return ignored{}, err
		}
		if wanted {
			found.spans = append(found.spans, span{from, (archive.at + block - 1) / block * block})
		}
		if wanted && into != io.Discard {
			found.dockerfile = append([]byte{}, body.Bytes()...)
		}
	}
}

// without reads a file of that size but for the spans, which are in order.
func without(file io.ReaderAt, size int64, spans []span) io.Reader {
	var parts []io.Reader
	at := int64(0)
	for _, s := range spans {
		parts = append(parts, io.NewSectionReader(file, at, s.from-at))
		at = min(s.to, size)
	}
	return io.MultiReader(append(parts, io.NewSectionReader(file, at, size-at))...)
}

// looked is how much of a context the front end looks at to see whether it is an archive.
const looked = 1024

// left reads an archive of that size without what is ignored. A folder stands before it where the front end would else take it for a
// Dockerfile: nothing is left, or it begins with words on its first entry, as those do that Python writes.
func (i ignored) left(file io.ReaderAt, size int64) (io.Reader, error) {
	_, whole := tar.NewReader(without(file, size, i.spans)).Next()
	_, begun := tar.NewReader(io.LimitReader(without(file, size, i.spans), looked)).Next()
	if whole == nil && begun == nil || whole != nil && (whole != io.EOF || len(i.spans) == 0) {
		return without(file, size, i.spans), nil
	}
	var folder bytes.Buffer
	err := tar.NewWriter(&folder).WriteHeader(&tar.Header{Name: "./", Typeflag: tar.TypeDir, Mode: 0o755})
	return io.MultiReader(&folder, without(file, size, i.spans)), err
}

// dockerfileFolder is the name of the folder that a session of the process's own offers a Dockerfile in that the context shall not have.
const dockerfileFolder = "dockerfile"

// hide has the front end read a Dockerfile from a session of the process's own instead of from the context.
func hide(name, session string, request *build.Request) {
	request.Options["filename"] = hiddenName(name)
	request.Options["dockerfilekey"] = dockerfileFolder
	request.Options["local-sessionid:"+dockerfileFolder] = session
}

func hiddenName(name string) string { return path.Base(cmp.Or(name, "Dockerfile")) }

// offer serves a hidden Dockerfile.
func offer(s *grpc.Server, name string, content []byte) {
	files := staticfs.NewFS()
	files.Add(hiddenName(name), &types.Stat{Mode: 0o644}, content)
	filesync.NewFSSyncProvider(filesync.StaticDirSource{dockerfileFolder: fsutil.FS(files)}).Register(s)
}
