package config

// DefaultHost is where the daemon listens when nothing else is said.
func DefaultHost() string { return "npipe://" + defaultPipe }
