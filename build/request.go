// Package build turns definitions of builds into file systems, images and files: it calls the Dockerfile front end, makes
// steps of what that says, runs them in parallel with a cache, and tells clients how they come along.
//
// Its children: step has the words they share; solve runs any graph of steps and knows no containers; source, file and
// run carry out the steps, whose inputs content reads; result, attest and share bring what came out to where it was asked for.
package build

import (
	"github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/solver/pb"
	spb "github.com/moby/buildkit/sourcepolicy/pb"

	"github.com/cove-containers/cove/build/step"
)

// Request is what a client wants built. The fields are those of BuildKit's SolveRequest that count here.
type Request struct {
	// ID names the build (BuildKit's "ref"): for its progress, its history, and the calls of a front end on the client's side.
	ID string
	// Sessions are where files, secrets, credentials and agents are asked for, the client's own first: a context that came
	// by the classic API is in a session of the daemon's.
	Sessions []string
	// Definition is what to solve when there is no FrontEnd.
	Definition *pb.Definition
	// FrontEnd is "dockerfile.v0", "gateway.v0", or "" for the Definition; Options are its options as BuildKit names them.
	FrontEnd string
	Options  map[string]string
	Inputs   map[string]*pb.Definition
	// Front is a front end of the caller's own, called with the build's gateway instead of FrontEnd: the client itself, say,
	// when it steers the build. Nil is FrontEnd's.
	Front client.BuildFunc

	Exporters    []Exporter
	CacheImports []client.CacheOptionsEntry
	CacheExports []client.CacheOptionsEntry
	Entitlements []string
	Policies     []*spb.Policy
	// Limits bind RUN steps, as the classic API has them. Nil are those that Options tell: "run:memory" and so on.
	Limits *step.Limits
	// Internal builds are not shown in the history.
	Internal bool
}

// Exporter says where to bring what was built: "image", "moby", "local", "tar", "oci", "docker"; Attrs are its options as
// BuildKit names them.
type Exporter struct {
	Type  string
	Attrs map[string]string
}

// Response is what came out, in the words of the exporters: "containerimage.digest" and so on.
type Response struct {
	Exporter map[string]string
	kept
}
