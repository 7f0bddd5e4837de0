// Package release tells which Cove this is. It imports nothing, for the sake of the program that starts with every
// container.
package release

// Version is the release; the build may set it with -ldflags -X.
var Version = "0.1.0"

// Commit is the source revision; the build sets it with -ldflags -X.
var Commit = "unknown"
