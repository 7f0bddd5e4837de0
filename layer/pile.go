package layer

// A Pile is a read-only file system as its layers, lowest first, each named by its diff ID ("sha256:…", as images have it)
// or by the name that a build gave it. The empty one is scratch.
type Pile []string
