package result

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/filesync"
	"github.com/moby/buildkit/util/staticfs"
	"github.com/opencontainers/go-digest"
	"github.com/tonistiigi/fsutil"
	fstypes "github.com/tonistiigi/fsutil/types"

	"github.com/cove-containers/cove/build/attest"
	"github.com/cove-containers/cove/build/step"
	"github.com/cove-containers/cove/sys"
)

// local sends the files of the result to a folder of the client's.
func (x *export) local(ctx context.Context) error {
	return x.files(ctx, func(ctx context.Context, files fsutil.FS, c session.Caller) error {
		var how []filesync.CopyToCallerOpt
		if x.o.mode == "delete" {
			how = append(how, filesync.WithExporterMultiPlatformTransfer())
		}
		return filesync.CopyToCaller(ctx, files, x.id, c, x.copied(), how...)
	})
}

// copied tells how much has been sent.
func (x *export) copied() func(bytes int, last bool) {
	began, told := time.Now(), time.Time{}
	return func(bytes int, last bool) {
		now := time.Now()
		if x.env.Progress == nil || !last && now.Sub(told) < 100*time.Millisecond {
			return
		}
		told = now
		s := step.Status{ID: "copying files", Started: &began, Current: int64(bytes)}
		if last {
			s.Completed = &now
		}
		x.env.Progress(s)
	}
}

// tarball sends the files of the result as an archive.
func (x *export) tarball(ctx context.Context) error {
	return x.files(ctx, func(ctx context.Context, files fsutil.FS, c session.Caller) error {
		defer x.step("sending tarball")()
		return x.send(ctx, c, nil, func(w io.Writer) error { return fsutil.WriteTar(ctx, files, w) })
	})
}

// files gives do all files of the result, those for several platforms in a folder for each.
func (x *export) files(ctx context.Context, do func(context.Context, fsutil.FS, session.Caller) error) error {
	ps, err := x.result.Platforms()
	if err != nil {
		return err
	}
	split := x.result.Multiple()
	if x.o.split != nil && x.o.kind == Local {
		split = *x.o.split
	}
	var open []*tree
	defer func() {
		for _, t := range open {
			t.close()
		}
	}()
	var dirs []fsutil.Dir
	for _, p := range ps {
		t, err := x.tree(ctx, p, split)
		if err != nil {
			return err
		}
		open = append(open, t)
		dirs = append(dirs, fsutil.Dir{FS: t.files, Stat: t.folder(p.ID)})
	}
	var all fsutil.FS
	switch {
	case split:
		if all, err = fsutil.SubDirFS(dirs); err != nil {
			return err
		}
	default:
		if err := apart(ctx, ps, dirs); err != nil {
			return err
		}
		all = dirs[0].FS
		for _, d := range dirs[1:] {
			all = staticfs.NewMergeFS(all, d.FS)
		}
	}
	return x.client(ctx, func(ctx context.Context, c session.Caller) error { return do(ctx, all, c) })
}

// apart finds files of different platforms that would overwrite one another.
func apart(ctx context.Context, ps []exptypes.Platform, dirs []fsutil.Dir) error {
	if len(dirs) < 2 {
		return nil
	}
	from := map[string]string{}
	for i, d := range dirs {
		err := d.FS.Walk(ctx, "", func(name string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			if other, twice := from[name]; twice {
				return invalid("cannot overwrite %s from %s with %s when split option is disabled", name, other, ps[i].ID)
			}
			from[name] = ps[i].ID
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// tree is what a platform's file system has for the client.
type tree struct {
	files fsutil.FS
	at    *time.Time // of all files, when it was given
	close func()
}

func (t *tree) folder(id string) *fstypes.Stat {
	st := &fstypes.Stat{Mode: uint32(os.ModeDir | 0o755), Path: folderName(id)}
	if t.at != nil {
		st.ModTime = t.at.UnixNano()
	}
	return st
}

// folderName is the ID of a platform as one part of a path.
func folderName(id string) string {
	id = strings.NewReplacer("/", "_", `\`, "_", ":", "_").Replace(id)
	if id == "." || id == ".." {
		return strings.Repeat("_", len(id))
	}
	return id
}

// tree opens the file system of a platform, with the attestations of its files.
func (x *export) tree(ctx context.Context, p exptypes.Platform, split bool) (t *tree, err error) {
	ref, err := x.result.ref(p)
	if err != nil {
		return nil, err
	}
	t = &tree{}
	if t.at, err = x.epochOf(p); err != nil {
		return nil, err
	}
	root, err := x.Layers.OpenPile(ctx, ref.Pile)
	if err != nil {
		return nil, err
	}
	t.close = func() { root.Close() }
	defer func() {
		if err != nil {
			t.close()
		}
	}()
	from, err := sys.OpenInRoot(root.Dir, "/"+x.o.source, os.O_RDONLY, 0)
	if err != nil {
		var cause *os.PathError
		if errors.As(err, &cause) && x.o.source != "" {
			err = fmt.Errorf("src=%s: %w", x.o.source, cause.Err)
		}
		return nil, err
	}
	defer from.Close()
	dir, err := os.OpenRoot(fmt.Sprintf("/proc/self/fd/%d", from.Fd()))
	if err != nil {
		return nil, fmt.Errorf("src=%s: %w", x.o.source, err)
	}
	t.close = func() {
		dir.Close()
		root.Close()
	}
	t.files = fsutil.NewRootFS(fsutil.NewRoot(dir))
	if t.at != nil {
		t.files, err = fsutil.NewFilterFS(t.files, &fsutil.FilterOpt{Map: func(_ string, st *fstypes.Stat) fsutil.MapResult {
			st.ModTime = t.at.UnixNano()
			return fsutil.MapResultKeep
		}})
		if err != nil {
			return nil, err
		}
	}
	beside, err := x.beside(ctx, p, t, split)
	if err == nil && beside != nil {
		t.files = staticfs.NewMergeFS(t.files, beside)
	}
	return t, err
}

// beside are the attestations of the files of a platform, as files; nil when there are none.
func (x *export) beside(ctx context.Context, p exptypes.Platform, t *tree, split bool) (fsutil.FS, error) {
	var list []attest.Attestation
	for _, a := range x.result.Attestations[p.ID] {
		if !a.InlineOnly {
			list = append(list, a)
		}
	}
	if len(list) == 0 {
		return nil, nil
	}
	self, err := subjects(ctx, t.files)
	if err != nil {
		return nil, err
	}
	at := time.Unix(0, 0)
	if t.at != nil {
		at = *t.at
	}
	out, known := staticfs.NewFS(), map[string]bool{}
	for i := range list {
		body, err := list[i].Statement(ctx, self)
		if err != nil {
			return nil, err
		}
		name := x.o.prefix + list[i].File()
		if x.result.Multiple() && !split {
			ext := path.Ext(name)
			name = strings.TrimSuffix(name, ext) + "." + folderName(p.ID) + ext
		}
		if known[name] {
			return nil, invalid("duplicate attestation path name %s", name)
		}
		known[name] = true
		out.Add(name, &fstypes.Stat{Mode: 0o600, Path: name, ModTime: at.UnixNano()}, body)
	}
	return out, nil
}

// subjects are all files, by their content.
func subjects(ctx context.Context, files fsutil.FS) ([]attest.Named, error) {
	var out []attest.Named
	err := files.Walk(ctx, "", func(name string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		f, err := files.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		d, err := digest.SHA256.FromReader(f)
		if err == nil {
			out = append(out, attest.Self(name, d))
		}
		return err
	})
	return out, err
}
