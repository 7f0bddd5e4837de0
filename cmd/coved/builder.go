package main

import (
	"context"
	"log/slog"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/containerd/errdefs"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/solver/pb"

	"github.com/cove-containers/cove/blob"
	"github.com/cove-containers/cove/build"
	"github.com/cove-containers/cove/build/content"
	"github.com/cove-containers/cove/build/file"
	"github.com/cove-containers/cove/build/source"
	"github.com/cove-containers/cove/build/step"
	"github.com/cove-containers/cove/buildkit"
	"github.com/cove-containers/cove/cache"
	"github.com/cove-containers/cove/engine"
	"github.com/cove-containers/cove/layer"
	"github.com/cove-containers/cove/state"
)

// builder opens what builds and the door to it.
func (d *daemon) builder(ctx context.Context, s *settings, db *state.DB, blobs *blob.Store, parts engine.Parts, log *slog.Logger) (*buildkit.Door, error) {
	sessions, err := session.NewManager()
	if err != nil {
		return nil, err
	}
	records, err := cache.Open(db, cache.Config{
		Sync: func() error { return parts.Layers.Settle(ctx) },
		Measure: func(name string) (int64, error) {
			n, _, err := parts.Layers.BuiltSize(ctx, name)
			return n, err
		},
	})
	if err != nil {
		return nil, err
	}
	parts.Images.SetHeld(records.Holds)
	root := filepath.Join(s.dataRoot, "build")
	contents := content.New(parts.Layers)
	files := file.New(file.Parts{Layers: parts.Layers, Content: contents})
	sources := source.New(source.Parts{Layers: parts.Layers, Content: contents, Images: parts.Images, Folder: filepath.Join(root, "git")})
	b, err := build.New(ctx, build.Parts{
		Config: build.Config{Root: root, WorkerID: s.mark(), Labels: workerLabels(s, parts)}, DB: db, Log: log,
		Sessions: sessions, Cache: records, Layers: parts.Layers, Built: parts.Layers.Built,
		Standing: func(name string) bool { return parts.Layers.Standing(layer.Pile{name}) },
		Free:     func() (int64, error) { return freeBytes(s.dataRoot) },
		Make: build.Makers{
			Source: func(op *pb.Op, v step.Vertex) (step.Op, error) { return sources.Op(op.GetSource(), v.Platform) },
			Exec: func(*pb.Op, step.Vertex) (step.Op, error) {
				return nil, errdefs.ErrNotImplemented.WithMessage("RUN is not supported by this version of Cove")
			},
			File:  func(op *pb.Op, _ step.Vertex) (step.Op, error) { return files.File(op.GetFile(), len(op.Inputs)) },
			Merge: func(op *pb.Op, _ step.Vertex) (step.Op, error) { return files.Merge(op.GetMerge()), nil },
			Diff:  func(op *pb.Op, _ step.Vertex) (step.Op, error) { return files.Diff(op.GetDiff()), nil },
		},
		Resolver: sources, Reader: files,
	})
	if err != nil {
		return nil, err
	}
	d.push(func() {
		if err := b.Close(); err != nil {
			log.Error("could not close the builder", "error", err)
		}
	})
	door := buildkit.New(buildkit.Parts{
		Builder: b, Cache: b, History: b, Sessions: sessions, Scratch: s.dataRoot, Log: log,
	})
	d.push(door.Close)
	return door, nil
}

// workerLabels are what clients of BuildKit look for in a worker. With a snapshotter named it is one whose images are in
// a content store: several platforms, attestations and direct pushes are possible.
func workerLabels(s *settings, parts engine.Parts) map[string]string {
	const prefix = "org.mobyproject.buildkit.worker."
	labels := map[string]string{prefix + "executor": "cove", prefix + "snapshotter": "overlayfs", prefix + "network": "bridge", prefix + "hostname": s.mark()}
	var gateways []string
	for _, a := range parts.Networks.HostGateways() {
		gateways = append(gateways, a.String())
	}
	if len(gateways) > 0 {
		labels[prefix+"moby.host-gateway-ip"] = strings.Split(gateways[0], "%")[0]
	}
	return labels
}

func freeBytes(path string) (int64, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(path, &s); err != nil {
		return 0, err
	}
	return int64(s.Bavail) * s.Bsize, nil
}
