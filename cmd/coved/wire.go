package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	ct "github.com/moby/moby/api/types/container"

	"github.com/cove-containers/cove/api"
	"github.com/cove-containers/cove/blob"
	"github.com/cove-containers/cove/build"
	"github.com/cove-containers/cove/cdi"
	"github.com/cove-containers/cove/container"
	"github.com/cove-containers/cove/endpoint"
	"github.com/cove-containers/cove/engine"
	"github.com/cove-containers/cove/engine/hello"
	"github.com/cove-containers/cove/files"
	"github.com/cove-containers/cove/forward"
	"github.com/cove-containers/cove/image"
	"github.com/cove-containers/cove/layer"
	"github.com/cove-containers/cove/network"
	"github.com/cove-containers/cove/release"
	"github.com/cove-containers/cove/remote"
	"github.com/cove-containers/cove/repository/local"
	"github.com/cove-containers/cove/runtime"
	"github.com/cove-containers/cove/server"
	"github.com/cove-containers/cove/server/listen"
	"github.com/cove-containers/cove/shim"
	"github.com/cove-containers/cove/snapshot"
	"github.com/cove-containers/cove/spec"
	"github.com/cove-containers/cove/state"
	"github.com/cove-containers/cove/sys"
	"github.com/cove-containers/cove/system"
	"github.com/cove-containers/cove/volume"
)

// daemon is everything open.
type daemon struct {
	runtime   string // the path of cove-runtime
	listeners []net.Listener
	server    *server.Server
	metrics   net.Listener  // nil when they are not wanted
	registry  *distribution // nil when there is none
	networks  *network.Keeper
	images    *image.Store
	engine    *engine.Engine
	builder   *build.Builder
	// registries is how others' registries are asked.
	registries *remote.Client
	undo       []func()
}

// What a layer may unpack to: far more than any real one, and less than what an archive of a few megabytes can claim.
const (
	maxLayerBytes   = 1 << 40
	maxLayerEntries = 4_000_000
)

// close closes everything, what was opened last first.
func (d *daemon) close() {
	for i := len(d.undo) - 1; i >= 0; i-- {
		d.undo[i]()
	}
	d.undo = nil
}

func (d *daemon) push(step func()) { d.undo = append(d.undo, step) }

// open opens the keepers floor by floor.
func open(ctx context.Context, s *settings, log *slog.Logger) (_ *daemon, err error) {
	d := &daemon{}
	defer func() {
		if err != nil {
			d.close()
		}
	}()
	if d.runtime, err = findRuntime(); err != nil {
		return nil, err
	}

	db, err := d.words(s)
	if err != nil {
		return nil, err
	}
	blobs, registries, err := tools(s)
	if err != nil {
		return nil, err
	}
	shelf, err := ownShelf(s, blobs)
	if err != nil {
		return nil, err
	}
	parts, err := d.keepers(s, db, blobs, registries, log)
	if err != nil {
		return nil, err
	}

	records, err := d.buildCache(s, parts, db)
	if err != nil {
		return nil, err
	}

	// Conductors.
	eng, err := engine.New(ctx, parts)
	if err != nil {
		return nil, err
	}
	d.push(func() { shutdown(eng, s, parts.Config.CgroupParent, log) })

	captures, err := snapshot.New(ctx, snapshot.Parts{
		Containers: parts.Containers, Images: parts.Images, Layers: parts.Layers, Pauser: eng, Maker: maker{eng}, Tell: parts.Bus.Publish, DB: db,
	})
	if err != nil {
		return nil, err
	}

	copier := files.New(files.Parts{
		Containers: parts.Containers, Layers: parts.Layers, Mounts: eng.Mounts, Publish: parts.Bus.Publish, Root: s.dataRoot,
	})

	d.networks, d.images, d.engine, d.registries = parts.Networks, parts.Images, eng, registries
	builds, err := d.builds(ctx, s, parts, db, blobs, registries, records, log)
	if err != nil {
		return nil, err
	}

	endpoints := endpoint.New(endpoint.Parts{Containers: parts.Containers, Networks: parts.Networks, Run: eng, Tell: parts.Bus.Publish})

	// Doors.
	if err := d.ownRegistry(ctx, s, shelf, log); err != nil {
		return nil, err
	}
	d.server = server.New(server.Parts{
		Lives: eng, Course: eng, Checkpoints: eng, Streams: eng, Execs: eng, Containers: eng, Files: copier, System: eng,
		Images: parts.Images, Statements: parts.Images, Transfers: parts.Images, Captures: captures, Snapshots: captures, Volumes: parts.Volumes, Networks: parts.Networks, Endpoints: endpoints,
		BuildKit: builds, Builds: builds, Experimental: s.experimental,
		Registry: registries, Log: log, Housekeeping: d.housekeeping(s, db, blobs, parts, eng),
	})
	return d, nil
}

// ownShelf opens what the daemon's own registry is kept in, nil where none is wanted. What both have is on the disk once.
func ownShelf(s *settings, blobs *blob.Store) (*local.Store, error) {
	if len(s.registry.listen) == 0 {
		return nil, nil
	}
	shelf, err := local.Open(registryFolder(s.dataRoot))
	if err != nil {
		return nil, err
	}
	blobs.Twin(shelf.Same)
	shelf.Twin(blobs.Same)
	return shelf, nil
}

// ownRegistry opens the registry of the daemon's own on its shelf.
func (d *daemon) ownRegistry(ctx context.Context, s *settings, shelf *local.Store, log *slog.Logger) error {
	if shelf == nil {
		return nil
	}
	r := s.registry
	r.root, r.certsDirs = registryFolder(s.dataRoot), s.certsDirs
	r.spool = filepath.Join(r.root, "tmp")
	var err error
	if d.registry, err = openRegistry(ctx, &r, shelf, log); err != nil {
		return err
	}
	d.push(d.registry.close)
	return nil
}

// housekeeping is what looks at everything at once.
func (d *daemon) housekeeping(s *settings, db *state.DB, blobs *blob.Store, parts engine.Parts, eng *engine.Engine) *system.System {
	var more []system.Checker
	if d.registry != nil {
		more = append(more, d.registry.store)
	}
	if d.builder != nil {
		more = append(more, d.builder)
	}
	parent := parts.Config.CgroupParent
	if s.cgroupParent != "" { // containers of other engines may live there, too
		parent = ""
	}
	return system.New(system.Parts{
		More: more,
		Root: s.dataRoot, CgroupParent: parent,
		Database: db, Blobs: blobs, Images: parts.Images, Layers: parts.Layers, Volumes: parts.Volumes,
		Networks: parts.Networks, Shims: parts.Shims, Containers: parts.Containers,
		List: func(ctx context.Context) ([]ct.Summary, error) {
			return eng.ContainerList(ctx, engine.ListOptions{All: true})
		},
		Remove: func(ctx context.Context, id string) error {
			return eng.ContainerRemove(ctx, id, engine.RemoveOptions{})
		},
	})
}

// words opens the database first: its lock keeps a second daemon out before it could disturb anything. Then the
// sockets, where clients may already wait.
func (d *daemon) words(s *settings) (*state.DB, error) {
	if err := makeFolders(s); err != nil {
		return nil, err
	}
	db, err := state.Open(filepath.Join(s.dataRoot, "cove.db"))
	if err != nil {
		return nil, err
	}
	d.push(func() { db.Close() })
	if err := claim(s); err != nil {
		return nil, err
	}
	d.push(func() { os.Remove(s.pidfile) })
	if d.listeners, err = listen.Open(listenConfig(s)); err != nil {
		return nil, err
	}
	d.push(func() {
		for _, l := range d.listeners {
			l.Close()
		}
	})
	if s.metricsAddr != "" {
		if d.metrics, err = net.Listen("tcp", s.metricsAddr); err != nil {
			return nil, fmt.Errorf("serve metrics: %w", err)
		}
		d.push(func() { d.metrics.Close() })
	}
	return db, nil
}

func tools(s *settings) (*blob.Store, *remote.Client, error) {
	blobs, err := blob.Open(s.dataRoot)
	if err != nil {
		return nil, nil, err
	}
	registries, err := remote.New(remote.Config{
		Insecure: s.insecure, Mirrors: s.mirrors, UserAgent: "cove/" + release.Version, CertsDirs: s.certsDirs,
	})
	return blobs, registries, err
}

func (d *daemon) keepers(s *settings, db *state.DB, blobs *blob.Store, registries *remote.Client, log *slog.Logger) (engine.Parts, error) {
	parts := engine.Parts{Bus: engine.NewBus(), Log: log}
	var err error
	if parts.Config, err = engineConfig(s); err != nil {
		return parts, err
	}
	parts.Config.AppArmor = confinement(log)
	if parts.Containers, err = container.Open(db); err != nil {
		return parts, err
	}
	if parts.Layers, err = layer.Open(filepath.Join(s.dataRoot, "layers"), db); err != nil {
		return parts, err
	}
	parts.Layers.Limit(layer.Limits{Bytes: maxLayerBytes, Entries: maxLayerEntries})
	bound, _ := s.layerSize()
	if err := parts.Layers.BoundAll(bound); err != nil {
		return parts, err
	}
	if parts.Images, err = image.Open(db, blobs, registries, parts.Layers, parts.Bus.Image); err != nil {
		return parts, err
	}
	d.push(func() { parts.Images.Close() })
	parts.Images.Limit(s.downloads, s.uploads, s.attempts)
	parts.Images.SetEmbedded(map[string]func() (io.ReadCloser, error){
		hello.Name: func() (io.ReadCloser, error) { return hello.Image(d.runtime) },
	})
	if parts.Volumes, err = volume.Open(filepath.Join(s.dataRoot, "volumes"), db); err != nil {
		return parts, err
	}
	parts.Volumes.Tell(parts.Bus.Volume)
	if parts.Networks, err = network.Open(networkConfig(s, log), db); err != nil {
		return parts, err
	}
	d.push(func() { parts.Networks.Close() })
	parts.Networks.Tell(parts.Bus.Network)
	forwarding, err := forward.Open(filepath.Join(s.dataRoot, "forward"), db, log)
	if err != nil {
		return parts, err
	}
	d.push(forwarding.Close)
	parts.Forwarding, parts.Devices = forwarding, cdi.New(s.cdiDirs)
	if parts.Shims, err = shim.Open(filepath.Join(s.execRoot, "shim"), d.runtime); err != nil {
		return parts, err
	}
	d.push(func() { parts.Shims.Close() })
	return parts, nil
}

// shutdown lets go of the containers, and removes the cgroup parent when none is left and it is the engine's own.
func shutdown(eng *engine.Engine, s *settings, parent string, log *slog.Logger) {
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	if err := eng.Shutdown(ctx); err != nil {
		log.Error("could not write the records of containers", "error", err)
	}
	if eng.Running() || s.cgroupParent != "" {
		return
	}
	if group, err := runtime.OpenCgroup(parent); err == nil {
		if err := group.Remove(); err != nil {
			log.Debug("the cgroup parent stays", "cgroup", parent, "error", err)
		}
	}
}

// findRuntime looks for cove-runtime beside this program, then in PATH.
func findRuntime() (string, error) {
	own, err := os.Executable()
	if err == nil {
		if own, err = filepath.EvalSymlinks(own); err == nil {
			beside := filepath.Join(filepath.Dir(own), "cove-runtime")
			if _, err := os.Stat(beside); err == nil {
				return beside, nil
			}
		}
	}
	found, err := exec.LookPath("cove-runtime")
	if err != nil {
		return "", errors.New("cove-runtime is neither beside coved nor in PATH")
	}
	return filepath.Abs(found)
}

// makeFolders makes the two roots. Clients pass through the second to the socket; the first is nobody's business.
func makeFolders(s *settings) error {
	for root, perm := range map[*string]os.FileMode{&s.dataRoot: 0o710, &s.execRoot: 0o711} {
		absolute, err := filepath.Abs(*root)
		if err != nil {
			return err
		}
		*root = absolute
		if err := os.MkdirAll(absolute, perm); err != nil {
			return fmt.Errorf("create %s: %w", absolute, err)
		}
	}
	return linkMounts(s.dataRoot)
}

// linkMounts has programs that watch containers find them where Docker has them: without, they leave out all containers of a
// daemon that they know for one of Docker's.
func linkMounts(root string) error {
	folder := filepath.Join(root, "image", api.StorageDriver, "layerdb")
	if err := os.MkdirAll(folder, 0o710); err != nil {
		return fmt.Errorf("create %s: %w", folder, err)
	}
	if err := os.Symlink("../../../containers", filepath.Join(folder, "mounts")); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("link to the containers: %w", err)
	}
	return nil
}

func listenConfig(s *settings) listen.Config {
	c := listen.Config{Hosts: s.hosts, Group: s.group}
	if s.tls || s.tlsVerify {
		c.TLS = listen.TLS{Verify: s.tlsVerify, CA: s.tlsCA, Cert: s.tlsCert, Key: s.tlsKey, HTTP2: true}
	}
	return c
}

func engineConfig(s *settings) (engine.Config, error) {
	c := engine.Config{
		Root: s.dataRoot, ExecRoot: s.execRoot, Mark: s.mark(), Labels: s.labels,
		LogDriver: s.logDriver, DefaultRuntime: s.defaultRuntime,
		DNSSearch: s.dnsSearch, DNSOptions: s.dnsOptions,
		Init: s.initProcess, NoNewPrivileges: s.noNewPrivileges,
		InsecureRegistries: s.insecure, Mirrors: s.mirrors, Debug: s.debug, Experimental: s.experimental,
		IpcMode: ct.IpcMode(s.ipcMode), CgroupnsMode: cmp.Or(ct.CgroupnsMode(s.cgroupnsMode), usualCgroupns(runtime.UnifiedCgroups())),
	}
	// Each of these was checked when the settings were read.
	c.LogOptions, _ = pairs(s.logOptions)
	c.Runtimes, _ = s.runtimePaths()
	c.DNS, _ = addresses(s.dns)
	c.Ulimits, _ = s.ulimitList()
	c.ShmSize, _ = s.shmBytes()
	c.CgroupParent, _ = s.parent()
	switch s.seccompProfile {
	case "", "builtin":
	case "unconfined":
		c.SeccompProfile = s.seccompProfile
	default:
		profile, err := os.ReadFile(s.seccompProfile)
		if err != nil {
			return c, fmt.Errorf("opening seccomp profile (%s) failed: %w", s.seccompProfile, err)
		}
		c.SeccompProfile = string(profile)
	}
	var err error
	if c.Remap, err = readRemap(s.usernsRemap); err != nil {
		return c, err
	}
	if s.usernsRemap != "" && c.Remap == nil {
		slog.Warn("User namespaces: root cannot be remapped with itself; user namespaces are OFF")
	}
	return c, nil
}

// confinement gives the AppArmor profile of containers that ask for none; nil where the host cannot have it.
func confinement(log *slog.Logger) func() (string, error) {
	if !sys.AppArmor() {
		return nil
	}
	if _, err := spec.LoadAppArmor(); err != nil {
		log.Warn("containers that ask for no AppArmor profile have none", "error", err)
		return nil
	}
	return spec.LoadAppArmor
}

// notifySystemd tells the service manager how the daemon fares, where there is one.
func notifySystemd(state string) {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return
	}
	if path[0] == '@' {
		path = "\x00" + path[1:]
	}
	conn, err := net.DialTimeout("unixgram", path, time.Second)
	if err != nil {
		return
	}
	defer conn.Close()
	conn.Write([]byte(state))
}
