// Package step has the words that the builder and those who carry out its steps share: what a step is, what it works on,
// what it may use of the builds that wait for it.
package step

import (
	"context"
	"os"
	"time"

	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cove-containers/cove/cache"
	"github.com/cove-containers/cove/layer"
)

// A Ref is a file system that a step has made: immutable, and kept as long as the lease of a build that uses it. The
// zero Ref is scratch.
type Ref struct {
	Pile layer.Pile
	// Origins are the caches elsewhere that it, or what it was made from, came from. Steps need not care.
	Origins []string
}

// An Op is one step of a build. Its methods may be called from several goroutines.
type Op interface {
	// Key tells what decides the step's outcome. It may ask a registry (which digest has this tag?) and so be slow; it
	// is called once for each build that has the step.
	Key(ctx context.Context, env *Env) (Key, error)
	// Run makes the step's outputs from its inputs. It runs once for each key at a time, whoever waits for it; ctx ends
	// when nobody does any more. New layers get their names from env.Lease.Name(); those that are in no Ref that Run
	// returns are scrapped by the caller, built or half built, also when it fails.
	Run(ctx context.Context, env *Env, in []Ref) (Outcome, error)
}

// A Key is what decides a step's outcome.
type Key struct {
	// Digest is of everything that decides it besides the inputs.
	Digest digest.Digest
	// Content has a function for each input of which the step reads a part only: it tells the digest of that part, as the
	// COPY instruction's sources. Nil, or beyond its end: whatever the input's own key stands for.
	Content []Content
	// Fresh steps are never taken from the cache, such as the transfer of a client's folder.
	Fresh bool
}

// Content tells the digest of what a step reads of an input.
type Content func(ctx context.Context, env *Env, in Ref) (digest.Digest, error)

// Outcome is what a step has made.
type Outcome struct {
	Refs []Ref
	// Key, when it is not empty, is what those who build on it shall be known by instead of the step's own: the digest of
	// what a source turned out to contain.
	Key digest.Digest
	// Kind and Description are for the record in the cache; Description is the step's name where it is empty.
	Kind, Description string
	// Notes are found in the record the next time; see cache.Record.
	Notes map[string]string
	// Unkept outcomes are not recorded: what they consist of is somebody else's, or gone with the build.
	Unkept bool
}

// Failure is the error of a step whose command has failed. It has the file systems of the step's mounts, by their place among
// them, before the command and after it; nil where a mount shows none.
type Failure struct {
	Err            error
	Inputs, Mounts []*Ref
}

// Error is the cause's message.
func (f *Failure) Error() string { return f.Err.Error() }

// Unwrap gives the cause.
func (f *Failure) Unwrap() error { return f.Err }

// Env is what a step may use of the builds that wait for it. Several builds may share a step: whoever of them can answer
// is asked.
type Env struct {
	Sessions *session.Manager
	Group    session.Group
	// Lease holds what the step makes and finds.
	Lease *cache.Lease
	// Name is the step's, as clients see it; for messages and descriptions.
	Name string
	// Platform is the one the step is for.
	Platform ocispec.Platform
	// Limits bind RUN steps; nil where the client asked for none.
	Limits *Limits
	// Out takes what the step writes to its standard output (1) and error (2).
	Out func(stream int, p []byte)
	// Progress takes how far a part of the step has come; see Part.
	Progress func(Status)
	// Warn takes what the client should know.
	Warn func(short, url string, detail ...string)
	// Mount finds what caches elsewhere have for a cache mount of this ID; see Imported.
	Mount func(id string) func(ctx context.Context, dir *os.File) error
}

// Imported gives what fills a cache mount that is not here from a cache elsewhere; nil: nothing does.
func (e *Env) Imported(id string) func(ctx context.Context, dir *os.File) error {
	if e.Mount == nil {
		return nil
	}
	return e.Mount(id)
}

// Status is how far one part of a step has come: "transferring context:", "extracting sha256:…". Parts with the same ID
// are the same line on the client's screen.
type Status struct {
	ID                 string
	Current, Total     int64
	Started, Completed *time.Time
}

// Part tells that a part of the step begins, and returns the function that tells its end.
func (e *Env) Part(id string) (end func()) {
	began := time.Now()
	e.report(Status{ID: id, Started: &began})
	return func() {
		now := time.Now()
		e.report(Status{ID: id, Started: &began, Completed: &now})
	}
}

func (e *Env) report(s Status) {
	if e.Progress != nil {
		e.Progress(s)
	}
}

// Limits are what the client wants RUN steps to keep to, with what else it says about their surroundings.
type Limits struct {
	Memory, MemorySwap     int64
	CPUShares, CPUPeriod   int64
	CPUQuota               int64
	CPUSetCPUs, CPUSetMems string
	ShmSize                int64
	Ulimits                []Ulimit
	CgroupParent           string
	NetworkMode            string   // "", "default", "bridge": the usual; "host", "none", or a network's name
	ExtraHosts             []string // NAME:IP
}

// Ulimit is a limit of one kind of resource, as in "nofile=1024:2048".
type Ulimit struct {
	Name       string
	Soft, Hard int64
}

// Vertex is what a definition says about a step, besides the operation.
type Vertex struct {
	Digest      digest.Digest // of the operation, with its inputs, as the client knows it
	Name        string        // as clients show it
	Description map[string]string
	Op          *pb.Op
	Platform    *pb.Platform
	Constraints *pb.WorkerConstraints
	// NoCache tells that the definition wants it done anew: cache mounts of RUN begin empty then.
	NoCache bool
}

// A Finder is a cache from elsewhere that a build may use.
type Finder interface {
	// Find tells at once whether it has the outcome of a step of this key.
	Find(key digest.Digest) (Found, bool)
}

// A MountFinder is a Finder that has contents of cache mounts, too.
type MountFinder interface {
	// Mount gives what fills a new folder with what the mount of this ID had; nil: it has none.
	Mount(id string) func(ctx context.Context, env *Env, dir *os.File) error
}

// Found is an outcome that is elsewhere as yet.
type Found struct {
	// Key is the one the outcome is known by: the one asked for, or another that was found to mean the same.
	Key digest.Digest
	// Load fetches it. The layers it makes are named by env.Lease.Name() and held by it.
	Load func(ctx context.Context, env *Env) (Outcome, error)
}

// Done is a step of a build that has ended, for those who write caches for elsewhere.
type Done struct {
	Vertex
	Key     digest.Digest
	Aliases []digest.Digest
	Inputs  []digest.Digest // keys of the steps that it stands on
	// Refs are its outcome; nil where the build has not needed it.
	Refs []Ref
	// Notes are those of its record.
	Notes map[string]string
	// Wanted is what the definition says about exporting this step; nil: nothing.
	Wanted *bool
	// Top steps are what the build was for.
	Top bool
	// Names tells the step's key as a build without a past would have it, and the one that its definition alone leads to, where that
	// is another one that lasts.
	Names func(ctx context.Context) (key, definition digest.Digest, err error)
}
