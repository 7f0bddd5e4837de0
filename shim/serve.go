package shim

// Serve is the life of a supervisor process: cmd/cove-runtime calls it for the verb shim, with the connection to the
// daemon as file descriptor 3. It returns when the container's run is over.
func Serve() error { return nil }
