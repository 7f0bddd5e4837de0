package api

import "time"

// Snapshot describes a snapshot of a container's files.
type Snapshot struct {
	ID      string
	Name    string
	Comment string `json:",omitempty"`
	Created time.Time
	// Size is what was new in it, in bytes on disk; -1 when that is not known.
	Size int64
}

// SnapshotCreateRequest is the body of a call that makes a snapshot.
type SnapshotCreateRequest struct{ Name, Comment string }

// CloneRequest is the body of a call that makes a container like another one: as it is, or as it was.
type CloneRequest struct {
	// Name of the new container; empty for a random one.
	Name string
	// Snapshot of the old one; empty for its present.
	Snapshot string
}
