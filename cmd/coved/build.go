package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"

	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/archutil"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cove-containers/cove/blob"
	"github.com/cove-containers/cove/build"
	"github.com/cove-containers/cove/build/content"
	"github.com/cove-containers/cove/build/file"
	buildrun "github.com/cove-containers/cove/build/run"
	"github.com/cove-containers/cove/build/source"
	"github.com/cove-containers/cove/build/step"
	"github.com/cove-containers/cove/cache"
	"github.com/cove-containers/cove/engine"
	"github.com/cove-containers/cove/network"
	"github.com/cove-containers/cove/remote"
	"github.com/cove-containers/cove/shim"
	"github.com/cove-containers/cove/state"
)

// buildCache opens what builds have left. Images learn of it before anything is swept.
func (d *daemon) buildCache(s *settings, parts engine.Parts, db *state.DB) (*cache.Store, error) {
	mounts, err := cache.OpenMounts(filepath.Join(s.dataRoot, "build", "mounts"), db)
	if err != nil {
		return nil, err
	}
	records, err := cache.Open(db, cache.Config{
		Mounts: mounts,
		Sync:   func() error { return parts.Layers.Settle(context.Background()) },
		Measure: func(name string) (int64, error) {
			size, _, err := parts.Layers.BuiltSize(context.Background(), name)
			return size, err
		},
	})
	if err != nil {
		return nil, err
	}
	parts.Images.SetHeld(records.Holds)
	return records, nil
}

// openBuilder opens the builder on the keepers.
func (d *daemon) openBuilder(ctx context.Context, s *settings, parts engine.Parts, db *state.DB, records *cache.Store, sessions *session.Manager, blobs *blob.Store, registries *remote.Client, log *slog.Logger) (*build.Builder, error) {
	archutil.CacheMaxAge = 0 // who registers an emulator tries again at once
	root := filepath.Join(s.dataRoot, "build")
	contents := content.New(parts.Layers)
	files := file.New(file.Parts{Layers: parts.Layers, Content: contents})
	sources := source.New(source.Parts{Layers: parts.Layers, Content: contents, Images: parts.Images, Folder: filepath.Join(root, "sources")})
	results, err := newDelivery(parts, db, blobs, registries, records.Mounts())
	if err != nil {
		return nil, err
	}
	runner, err := d.openRunner(s, parts, records, contents)
	if err != nil {
		return nil, err
	}
	made := build.Parts{
		Config: build.Config{
			Root: root, WorkerID: workerID(s), Labels: workerLabels(parts), Policy: s.builder.rules(s.dataRoot),
			Platforms: func() []ocispec.Platform { return archutil.SupportedPlatforms(false) },
		},
		DB: db, Log: log, Sessions: sessions, Cache: records, Layers: parts.Layers,
		Built:    parts.Layers.Built,
		Standing: func(pile []string) bool { return parts.Layers.Standing(pile) },
		Free:     func() (int64, error) { return freeSpace(s.dataRoot) },
		Make: build.Makers{
			Source: func(op *pb.Op, v step.Vertex) (step.Op, error) { return sources.Op(op.GetSource(), v.Platform) },
			Exec:   func(op *pb.Op, v step.Vertex) (step.Op, error) { return runner.Op(op, op.GetExec(), v) },
			File:   func(op *pb.Op, _ step.Vertex) (step.Op, error) { return files.File(op.GetFile(), len(op.Inputs)) },
			Merge:  func(op *pb.Op, _ step.Vertex) (step.Op, error) { return files.Merge(op.GetMerge()), nil },
			Diff:   func(op *pb.Op, _ step.Vertex) (step.Op, error) { return files.Diff(op.GetDiff()), nil },
		},
		Resolver: sources, Reader: files, Containers: runner,
	}
	results.wire(&made)
	b, err := build.New(ctx, made)
	if err != nil {
		return nil, err
	}
	d.builder = b
	d.push(func() {
		if err := b.Close(); err != nil {
			log.Error("could not close the builder", "error", err)
		}
	})
	return b, nil
}

// openRunner opens what carries out RUN.
func (d *daemon) openRunner(s *settings, parts engine.Parts, records *cache.Store, contents *content.Store) (*buildrun.Runner, error) {
	steps, err := shim.OpenSteps(filepath.Join(s.execRoot, "steps"), d.runtime)
	if err != nil {
		return nil, err
	}
	d.push(func() { steps.Close() })
	c := parts.Config
	return buildrun.New(buildrun.Parts{
		Layers: parts.Layers, Content: contents, Networks: parts.Networks, Steps: steps, Mounts: records.Mounts(), Devices: parts.Devices,
		Config: buildrun.Config{
			Dir: filepath.Join(s.execRoot, "build"), CgroupParent: c.CgroupParent, SeccompCache: filepath.Join(s.dataRoot, "seccomp"),
			SeccompProfile: c.SeccompProfile, NoNewPrivileges: c.NoNewPrivileges, AppArmor: c.AppArmor, ShmSize: c.ShmSize, Ulimits: c.Ulimits, Users: c.Remap,
			Resolv: network.ResolvInput{Servers: c.DNS, Search: c.DNSSearch, Options: c.DNSOptions},
		},
	})
}

// workerID names the builder of this data root, the same at every start.
func workerID(s *settings) string {
	sum := sha256.Sum256([]byte("builder of " + s.dataRoot))
	return hex.EncodeToString(sum[:])[:25]
}

// workerLabels are what BuildKit's clients look for: that the snapshotter is told of means to them that images of several
// platforms, attestations and the export of archives are to be had.
func workerLabels(parts engine.Parts) map[string]string {
	const prefix = "org.mobyproject.buildkit.worker."
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	out := map[string]string{
		prefix + "executor": "cove", prefix + "snapshotter": "overlayfs", prefix + "hostname": host, prefix + "network": "host",
	}
	if gateways := parts.Networks.HostGateways(); len(gateways) > 0 {
		out[prefix+"moby.host-gateway-ip"] = gateways[0].String()
	}
	return out
}

// freeSpace is what is left on the disk of a folder.
func freeSpace(folder string) (int64, error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(folder, &st); err != nil {
		return 0, err
	}
	return int64(st.Bavail) * st.Bsize, nil
}

// diskSize is how large the disk of a folder is.
func diskSize(folder string) (int64, error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(folder, &st); err != nil {
		return 0, err
	}
	return int64(st.Blocks) * st.Bsize, nil
}
