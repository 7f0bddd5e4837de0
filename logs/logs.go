// Package logs writes what containers print into files and reads it back: the last lines, a span of time, or everything
// as it comes.
//
// Two drivers keep files. json-file writes dockerd's format, one JSON object a line, so every tool that ships such files
// goes on working; local writes compact binary frames that keep each byte as it was. The third, none, keeps nothing.
//
// Files of one log, newest first; what is rotated away keeps its bytes and only changes its name:
//
//	<path>          being written
//	<path>.1        the one before, <path>.1.gz when compressed
//	<path>.2 …      up to max-file - 1
//
// Writer and reader meet only in these files: the writer lives in the container's supervisor, the readers in the daemon,
// and neither ever waits for the other. Within one log every line has its own time, later than the line before, so a
// time names a place in the log.
package logs

import (
	"time"
)

// The drivers, by the names users give them.
const (
	JSONFile = "json-file"
	Local    = "local"
	None     = "none"

	// Lines of these go elsewhere; see Kept.
	Syslog   = "syslog"
	Journald = "journald"
	GELF     = "gelf"
	Fluentd  = "fluentd"
)

// Names of the two streams as they stand in log files and API answers.
const (
	Stdout = "stdout"
	Stderr = "stderr"
)

// Config says where a log is and how it is kept. It travels to the supervisor as JSON.
type Config struct {
	Driver  string            // JSONFile when empty
	Path    string            // absolute; the folder exists already
	Options map[string]string // log options as the user gave them, see ValidateOptions
	Attrs   map[string]string // written beside each line and shown by --details, see Details
}

// Target is a container whose lines go elsewhere.
type Target struct {
	// Log is how they are read here.
	Log Config
	// Driver and Options are as the user gave them.
	Driver  string
	Options map[string]string
	Subject Subject
	Command string
	Created time.Time
}

// Line is one record of a log.
type Line struct {
	Source string // Stdout or Stderr
	Time   time.Time
	// Data ends with a newline, except in a Partial record.
	Data []byte
	// Partial tells that the line goes on in the next record of the same source: it was too long for one, or its program has
	// ended without ending it.
	Partial bool
	// Continued tells that the record continues the line of the Partial record before it: no new time stamp belongs
	// in front of it.
	Continued bool
	Attrs     map[string]string
}

// Query chooses lines. Since and Until are inclusive; their zero values mean no limit.
type Query struct {
	Since, Until   time.Time
	Tail           int // number of last lines among those chosen; negative: all
	Follow         bool
	Stdout, Stderr bool
}
