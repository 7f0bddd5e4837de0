// Package local keeps the objects of a registry as files.
//
//	<root>/
//	    <key>                  an object; its content never changes, another takes its place
//	    tmp/<random>           being written, locked by who writes it; removed at the next Open when nobody does
//
// What is below uploads/, holders/ and doomed/ survives the end of the process, everything else that of the machine too.
package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/cove-containers/cove/repository"
)

// Store is a folder of objects. Several processes may work on one.
type Store struct {
	root, tmp string
	twin      func(d digest.Digest, path string)
	buffers   sync.Pool
}

// Open opens or makes the store and removes what broken writers left.
func Open(root string) (*Store, error) {
	s := &Store{root: root, tmp: filepath.Join(root, "tmp"), twin: func(digest.Digest, string) {}}
	if err := os.MkdirAll(s.tmp, 0o700); err != nil {
		return nil, fmt.Errorf("open local storage: %w", err)
	}
	if err := s.sweep(); err != nil {
		return nil, fmt.Errorf("open local storage: %w", err)
	}
	return s, nil
}

// Twin names a second store on the same file system, say an engine's: it hears of every blob that came here and was verified,
// and may make its own copy a link to it, so that both take the space of one. Same is what it offers in turn.
func (s *Store) Twin(twin func(d digest.Digest, path string)) { s.twin = twin }

// Same makes the blob d, if it is here, a link to the file at path, which holds it verified.
func (s *Store) Same(d digest.Digest, path string) {
	target := filepath.Join(s.root, "blobs", d.Algorithm().String(), d.Encoded())
	here, err := os.Stat(target)
	if err != nil {
		return
	}
	there, err := os.Stat(path)
	if err != nil || os.SameFile(here, there) || here.Size() != there.Size() {
		return
	}
	// Where no link can be had both keep their own.
	tmp := s.temporary()
	if os.Link(path, tmp) == nil && os.Rename(tmp, target) != nil {
		os.Remove(tmp)
	}
}

func (s *Store) path(key string) (string, error) {
	if !fs.ValidPath(key) || key == "." || strings.HasPrefix(key, "tmp/") || strings.ContainsAny(key, "\x00\\") {
		return "", fmt.Errorf("%q is not a key: %w", key, errdefs.ErrInvalidArgument)
	}
	return filepath.Join(s.root, filepath.FromSlash(key)), nil
}

// Open implements repository.Reader. The reader is an *os.File.
func (s *Store) Open(ctx context.Context, key string, offset int64) (io.ReadCloser, repository.Object, error) {
	p, err := s.path(key)
	if err != nil {
		return nil, repository.Object{}, err
	}
	f, err := os.Open(p)
	if err != nil {
		return nil, repository.Object{}, failed("open", key, err)
	}
	o, err := open(f, key, offset)
	if err != nil {
		f.Close()
		return nil, repository.Object{}, err
	}
	return f, o, nil
}

func open(f *os.File, key string, offset int64) (repository.Object, error) {
	info, err := f.Stat()
	if err != nil {
		return repository.Object{}, failed("open", key, err)
	}
	if !info.Mode().IsRegular() {
		return repository.Object{}, fmt.Errorf("no object %s: %w", key, errdefs.ErrNotFound)
	}
	if offset < 0 || offset > info.Size() {
		return repository.Object{}, fmt.Errorf("open %s: offset %d of %d bytes: %w", key, offset, info.Size(), errdefs.ErrOutOfRange)
	}
	if offset > 0 {
		if _, err := f.Seek(offset, io.SeekStart); err != nil {
			return repository.Object{}, failed("open", key, err)
		}
	}
	return repository.Object{Key: key, Size: info.Size(), Modified: info.ModTime()}, nil
}

// Stat implements repository.Reader.
func (s *Store) Stat(ctx context.Context, key string) (repository.Object, error) {
	p, err := s.path(key)
	if err != nil {
		return repository.Object{}, err
	}
	info, err := os.Stat(p)
	if err != nil {
		return repository.Object{}, failed("stat", key, err)
	}
	if !info.Mode().IsRegular() {
		return repository.Object{}, fmt.Errorf("no object %s: %w", key, errdefs.ErrNotFound)
	}
	return repository.Object{Key: key, Size: info.Size(), Modified: info.ModTime()}, nil
}

// Put implements repository.Writer.
func (s *Store) Put(ctx context.Context, key string, r io.Reader, size int64) error {
	target, err := s.path(key)
	if err != nil {
		return err
	}
	f, err := s.create()
	if err != nil {
		return failed("store", key, err)
	}
	defer f.Close()
	n, err := s.fill(f, withContext{ctx, r}, size)
	if err == nil && size >= 0 && n != size {
		err = fmt.Errorf("store %s: %d bytes came, not %d: %w", key, n, size, errdefs.ErrFailedPrecondition)
	}
	if err == nil {
		err = s.place(f, f.Name(), target, key, n)
	}
	if err != nil {
		os.Remove(f.Name())
		return failed("store", key, err)
	}
	return nil
}

// fill copies in large pieces: a blob comes from the network, and each piece costs a call to read and one to write it.
func (s *Store) fill(f *os.File, r io.Reader, size int64) (int64, error) {
	if size >= 0 && size <= 32<<10 {
		return io.Copy(f, r)
	}
	buffer, _ := s.buffers.Get().(*[]byte)
	if buffer == nil {
		made := make([]byte, 256<<10)
		buffer = &made
	}
	defer s.buffers.Put(buffer)
	// Only a plain writer: a file would read by itself, in small pieces.
	return io.CopyBuffer(struct{ io.Writer }{f}, r, *buffer)
}

// Assemble implements repository.Writer. One object becomes another by a link.
func (s *Store) Assemble(ctx context.Context, from []string, to string) error {
	target, err := s.path(to)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return err
	}
	if len(from) == 1 {
		return s.link(from[0], to, target)
	}
	readers := make([]io.Reader, 0, len(from))
	for _, key := range from {
		r, _, err := s.Open(ctx, key, 0)
		if err != nil {
			return err
		}
		defer r.Close()
		readers = append(readers, r)
	}
	f, err := s.create()
	if err != nil {
		return failed("assemble", to, err)
	}
	defer f.Close()
	for _, r := range readers {
		// One by one: the kernel copies from file to file by itself, or lets them share what they have.
		if _, err = io.Copy(f, r); err == nil {
			err = ctx.Err()
		}
		if err != nil {
			break
		}
	}
	if err == nil {
		err = s.place(f, f.Name(), target, to, -1)
	}
	if err != nil {
		os.Remove(f.Name())
		return failed("assemble", to, err)
	}
	return nil
}

func (s *Store) link(from, to, target string) error {
	source, err := s.path(from)
	if err != nil {
		return err
	}
	f, err := os.Open(source)
	if err != nil {
		return failed("assemble", from, err)
	}
	defer f.Close()
	// The lock tells other processes that the link below is no leftover.
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_SH); err != nil {
		return failed("assemble", from, err)
	}
	tmp := s.temporary()
	if err := os.Link(source, tmp); err != nil {
		return failed("assemble", from, err)
	}
	now := time.Now()
	if err = os.Chtimes(tmp, now, now); err == nil {
		err = s.place(f, tmp, target, to, -1)
	}
	if err != nil {
		os.Remove(tmp)
		return failed("assemble", to, err)
	}
	// Renaming a link onto another of the same file does nothing, not even take the first away.
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return failed("assemble", to, err)
	}
	return nil
}

// place makes a file that was written durable and moves it to its place. An empty one has nothing to be lost.
func (s *Store) place(f *os.File, from, target, key string, size int64) error {
	durable := durable(key)
	if durable && size != 0 {
		if err := f.Sync(); err != nil {
			return err
		}
	}
	dir := filepath.Dir(target)
	for try := 0; ; try++ {
		err := os.Rename(from, target)
		if err == nil {
			break
		}
		// The folder is not there yet, or somebody just took it away because it was empty.
		if !errors.Is(err, fs.ErrNotExist) || try == 100 {
			return err
		}
		if err := s.mkdir(dir, durable); err != nil {
			return err
		}
	}
	if d, ok := blobOf(key); ok {
		s.twin(d, target)
	}
	if !durable {
		return nil
	}
	return syncDir(dir)
}

// durable tells whether a key has to survive a crash of the machine.
func durable(key string) bool {
	for _, prefix := range []string{"uploads/", "holders/", "doomed/"} {
		if strings.HasPrefix(key, prefix) {
			return false
		}
	}
	return true
}

func blobOf(key string) (digest.Digest, bool) {
	algorithm, hex, ok := strings.Cut(strings.TrimPrefix(key, "blobs/"), "/")
	return digest.NewDigestFromEncoded(digest.Algorithm(algorithm), hex), ok && strings.HasPrefix(key, "blobs/")
}

// mkdir makes a folder and those above it, each durable in its parent.
func (s *Store) mkdir(dir string, durable bool) error {
	err := os.Mkdir(dir, 0o700)
	switch {
	case errors.Is(err, fs.ErrExist):
		return nil
	case errors.Is(err, fs.ErrNotExist) && len(dir) > len(s.root):
		if err := s.mkdir(filepath.Dir(dir), durable); err != nil {
			return err
		}
		return s.mkdir(dir, durable)
	case err != nil:
		return err
	}
	if !durable {
		return nil
	}
	err = syncDir(filepath.Dir(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // taken away again: the caller tries once more
	}
	return err
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // empty again, and so gone: what was placed in it has been deleted
		}
		return err
	}
	defer d.Close()
	return d.Sync()
}

// Delete implements repository.Writer. Folders that become empty go too.
func (s *Store) Delete(ctx context.Context, keys ...string) error {
	touched := map[string]bool{}
	for _, key := range keys {
		p, err := s.path(key)
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		err = os.Remove(p)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
			continue
		}
		if err != nil {
			return failed("delete", key, err)
		}
		touched[filepath.Dir(p)] = touched[filepath.Dir(p)] || durable(key)
	}
	for dir, durable := range touched {
		for len(dir) > len(s.root) && os.Remove(dir) == nil {
			dir = filepath.Dir(dir)
		}
		if durable {
			if err := syncDir(dir); err != nil {
				return err
			}
		}
	}
	return nil
}

// failed gives an error of the file system its kind.
func failed(verb, key string, err error) error {
	kind := error(nil)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return fmt.Errorf("no object %s: %w", key, errdefs.ErrNotFound)
	case errors.Is(err, syscall.ENAMETOOLONG):
		kind = errdefs.ErrInvalidArgument
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		kind = errdefs.ErrResourceExhausted
	}
	if kind != nil {
		return fmt.Errorf("%s %s: %w: %w", verb, key, err, kind)
	}
	return fmt.Errorf("%s %s: %w", verb, key, err)
}

type withContext struct {
	ctx context.Context
	io.Reader
}

func (r withContext) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.Reader.Read(p)
}
