package volume

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/cove-containers/cove/archive"
	"github.com/cove-containers/cove/runtime"
	"github.com/cove-containers/cove/sys"
)

// Mount tells how the volume is mounted in a container: its folder bound, or a file system of its own.
type Mount struct {
	// Type is "bind" or a file system such as "tmpfs" or "nfs".
	Type string
	// Source is the folder to bind, or what the file system takes as its source.
	Source string
	// Options in the words of mount(8).
	Options []string
	// Own tells that what is bound is the volume's own folder in the data root.
	Own bool
	// Room has the file system as containers that run have it mounted, in which case Type is "bind": see sys.CopyAlone. It
	// is the store's, and open for as long as one of them runs.
	Room *os.File
}

// validOptions checks the options of the local driver, in Docker's words.
func validOptions(options map[string]string) error {
	fault := func(text string) error { return errdefs.ErrInvalidArgument.WithMessage(text) }
	for key := range options {
		switch key {
		case "type", "o", "device":
		case "size":
			return fault("quota size requested but no quota support")
		default:
			return fault(fmt.Sprintf("invalid option: %q", key))
		}
	}
	kind, hasType := options["type"]
	device, hasDevice := options["device"]
	switch {
	case len(options) == 0:
	case !hasDevice || device == "":
		return fault(`missing required option: "device"`)
	case !hasType || kind == "":
		return fault(`missing required option: "type"`)
	}
	return nil
}

// Mount returns how to mount the volume. It is mounted in the container's own mount namespace, never on the host. A file
// system of its own, such as a tmpfs, is one and the same for all containers that run at a time: see Enter.
func (s *Store) Mount(name string) (Mount, error) {
	s.mu.Lock()
	r, ok := s.records[name]
	room := s.rooms[name]
	s.mu.Unlock()
	if !ok {
		return Mount{}, noSuch(name)
	}
	if room != nil {
		return Mount{Type: "bind", Source: s.Path(name), Room: room.file}, nil
	}
	if len(r.Options) == 0 {
		return Mount{Type: "bind", Source: s.Path(name), Own: true}, nil
	}
	m, err := mountOf(r.Options)
	if err != nil {
		return Mount{}, s.mountError(name, err)
	}
	return m, nil
}

// mountOf turns driver options into a mount.
func mountOf(options map[string]string) (Mount, error) {
	m := Mount{Type: options["type"], Source: options["device"]}
	binds := m.Type == "bind"
	for _, o := range strings.Split(options["o"], ",") {
		switch o = strings.TrimSpace(o); {
		case o == "":
		case o == "bind" || o == "rbind":
			binds = true
		default:
			m.Options = append(m.Options, o)
		}
	}
	if binds {
		m.Type = "bind"
		if _, err := os.Stat(m.Source); err != nil {
			return Mount{}, err
		}
		return m, nil
	}
	if m.Type == "nfs" || m.Type == "nfs4" || m.Type == "cifs" {
		return m, resolveServer(m.Options)
	}
	return m, nil
}

// resolveServer puts the address of the server in place of its name: the kernel knows no names.
func resolveServer(options []string) error {
	for i, o := range options {
		name, ok := strings.CutPrefix(o, "addr=")
		if !ok {
			continue
		}
		if _, err := netip.ParseAddr(name); err == nil {
			return nil
		}
		address, err := net.ResolveIPAddr("ip", name)
		if err != nil {
			return fmt.Errorf("error resolving passed in network volume address: %w", err)
		}
		options[i] = "addr=" + address.String()
	}
	return nil
}

// CopyUp fills an empty volume with what the image has at the place where the volume will be: the entries of the
// directory target in root, and its owner and mode. It tells whether it copied. A volume that has something in it, or
// that is in memory, stays as it is.
func (s *Store) CopyUp(ctx context.Context, name string, root *os.File, target string) (bool, error) {
	src, err := sys.OpenPathInRoot(root, target, true)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer src.Close()
	if info, err := src.Stat(); err != nil || !info.IsDir() {
		return false, err
	}
	m, err := s.Mount(name)
	if err != nil {
		return false, err
	}
	switch {
	case m.Room != nil || m.Type == "tmpfs": // it is in use, or ends with the last container
		return false, nil
	case m.Type != "bind":
		return s.fillMounted(ctx, name, m, src)
	}
	content, err := os.ReadDir(m.Source)
	if err != nil || len(content) > 0 {
		return false, err
	}
	if m.Source != s.Path(name) || len(s.Users(name)) > 1 {
		// Others look into this very folder: it must stay the same one.
		return true, fill(ctx, m.Source, src)
	}
	filling := filepath.Join(s.root, name, fillingDir)
	if err := s.removeTree(filepath.Join(name, fillingDir)); err != nil {
		return false, err
	}
	if err := makeFolder(filling, 0o755); err != nil {
		return false, err
	}
	if err = fill(ctx, filling, src); err == nil {
		err = s.putInPlace(name)
	}
	if err == nil {
		return true, nil
	}
	s.removeTree(filepath.Join(name, fillingDir))
	if errors.Is(err, fs.ErrExist) {
		return false, nil // something has come into the volume meanwhile
	}
	return false, err
}

// fillMounted is CopyUp for a file system of its own.
func (s *Store) fillMounted(ctx context.Context, name string, m Mount, src *os.File) (bool, error) {
	mounted, err := runtime.OpenMount(m.Type, m.Source, m.Options)
	if err != nil {
		return false, s.mountError(name, err)
	}
	defer mounted.Close()
	dst, err := sys.OpenInRoot(mounted, ".", os.O_RDONLY, 0)
	if err != nil {
		return false, s.mountError(name, err)
	}
	defer dst.Close()
	if found, err := dst.Readdirnames(1); len(found) > 0 || !errors.Is(err, io.EOF) {
		return false, nil
	}
	return true, archive.CopyTree(ctx, dst, src, archive.CopyOptions{Root: true})
}

// putInPlace makes the filled folder the volume's, in place of its empty one.
func (s *Store) putInPlace(name string) error {
	dir, err := os.Open(filepath.Join(s.root, name))
	if err != nil {
		return err
	}
	defer dir.Close()
	// Not os.Rename, which refuses to put one folder over another even where that is empty.
	return sys.RenameAt(sys.Borrow(dir), fillingDir, sys.Borrow(dir), dataDir)
}

func fill(ctx context.Context, path string, src *os.File) error {
	dst, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dst.Close()
	return archive.CopyTree(ctx, dst, src, archive.CopyOptions{Root: true})
}
