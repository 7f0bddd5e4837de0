package file

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"syscall"

	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/patternmatcher"
	"github.com/tonistiigi/fsutil/types"

	"github.com/cove-containers/cove/build/content"
	"github.com/cove-containers/cove/build/step"
	"github.com/cove-containers/cove/sys"
)

// maxRead bounds what a front end may read of a file at once.
const maxRead = 64 << 20

// ReadFile reads a regular file of what a step has made, or a part of it.
func (m *Maker) ReadFile(_ context.Context, ref step.Ref, req gateway.ReadRequest) ([]byte, error) {
	p, n, err := m.find(ref, req.Filename)
	if err != nil {
		return nil, err
	}
	f, err := p.OpenFile(n)
	if err != nil {
		return nil, calls(err, req.Filename)
	}
	defer f.Close()
	from, length := int64(0), int64(maxRead+1)
	if r := req.Range; r != nil {
		if r.Offset < 0 || r.Length < 0 {
			return nil, invalid("invalid range for %s", req.Filename)
		}
		from, length = int64(r.Offset), min(int64(r.Length), length)
	}
	data, err := io.ReadAll(io.NewSectionReader(f, from, length))
	if err != nil {
		return nil, calls(err, req.Filename)
	}
	if len(data) > maxRead {
		return nil, invalid("%s exceeds maximum allowed size of %d bytes", req.Filename, maxRead)
	}
	return data, nil
}

// StatFile tells what a file of what a step has made is. Links are followed.
func (m *Maker) StatFile(_ context.Context, ref step.Ref, req gateway.StatRequest) (*types.Stat, error) {
	_, n, err := m.find(ref, req.Path)
	if err != nil {
		return nil, err
	}
	return statOf(n, path.Base(path.Clean(req.Path))), nil
}

// ReadDir lists a directory of what a step has made, as far as the pattern fits.
func (m *Maker) ReadDir(_ context.Context, ref step.Ref, req gateway.ReadDirRequest) ([]*types.Stat, error) {
	p, n, err := m.find(ref, req.Path)
	if err != nil {
		return nil, err
	}
	var pattern *patternmatcher.PatternMatcher
	if req.IncludePattern != "" {
		if pattern, err = newMatcher("include", []string{req.IncludePattern}); err != nil {
			return nil, err
		}
	}
	kids, err := p.Kids(n)
	if err != nil {
		return nil, err
	}
	var all []*types.Stat
	for _, kid := range kids {
		if pattern != nil {
			ok, err := pattern.MatchesOrParentMatches(kid.Name())
			if err != nil {
				return nil, err
			}
			if !ok {
				continue
			}
		}
		all = append(all, statOf(kid, kid.Name()))
	}
	return all, nil
}

func (m *Maker) find(ref step.Ref, name string) (*content.Pile, *content.Node, error) {
	p, err := m.parts.Content.Open(ref.Pile)
	if err != nil {
		return nil, nil, fmt.Errorf("read %s: %w", name, err)
	}
	n, err := p.Find(path.Join("/", name), true)
	if err != nil {
		return nil, nil, calls(err, name)
	}
	return p, n, nil
}

// calls puts the path as the front end asked for it into an error, and the kernel's words for what is not there: clients
// know it by "no such file".
func calls(err error, name string) error {
	if inner, ok := err.(*fs.PathError); ok {
		cause := inner.Err
		if errors.Is(cause, fs.ErrNotExist) {
			cause = syscall.ENOENT
		}
		return &fs.PathError{Op: inner.Op, Path: name, Err: cause}
	}
	return err
}

func statOf(n *content.Node, name string) *types.Stat {
	st := n.Stat()
	out := &types.Stat{
		Path: name, Uid: st.UID, Gid: st.GID, ModTime: st.ModTime().UnixNano(),
		Mode: uint32(goMode(st.Mode)), Linkname: n.Target(),
	}
	switch st.Kind() {
	case sys.KindFile, sys.KindSymlink:
		out.Size = st.Size
	case sys.KindChar, sys.KindBlock:
		major, minor := sys.DeviceNumbers(st.Rdev)
		out.Devmajor, out.Devminor = int64(major), int64(minor)
	}
	return out
}

// goMode is a mode of stat(2), kind and all, as Go has it.
func goMode(m uint32) os.FileMode {
	out := toMode(m)
	switch m & sys.KindMask {
	case sys.KindSymlink:
		out |= fs.ModeSymlink
	case sys.KindChar:
		out |= fs.ModeDevice | fs.ModeCharDevice
	case sys.KindBlock:
		out |= fs.ModeDevice
	case sys.KindFifo:
		out |= fs.ModeNamedPipe
	case sys.KindSocket:
		out |= fs.ModeSocket
	}
	return out
}
