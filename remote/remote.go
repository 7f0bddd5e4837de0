// Package remote talks to OCI and Docker registries: it resolves names, fetches manifests and blobs, and signs in.
//
// It speaks HTTPS to everybody. Only hosts on the loopback interface and those the configuration calls insecure
// may also answer in plain HTTP or with a certificate nobody vouches for. A registry is believed in nothing: answers
// are bounded in size and time, credentials go to the registry and its token service and nowhere else, and every
// digest is computed here.
package remote

import "time"

// Config is what a Client needs to know about this machine.
type Config struct {
	// Insecure are registries that need no valid TLS: "host", "host:port" or an address range in CIDR form.
	// 127.0.0.0/8, ::1 and localhost always are.
	Insecure []string
	// Mirrors are base URLs asked before docker.io for its images.
	Mirrors []string
	// CertsDir holds a folder per registry, named host or host:port, with *.crt (authorities) and *.cert with
	// *.key (our own certificate). It is read anew for every connection pool.
	CertsDir string
	// UserAgent is sent with every request.
	UserAgent string
	// Idle is how long a registry may be silent within an answer; 0 means 30 seconds.
	Idle time.Duration
}

// Credentials are what a user presents to one registry. All empty is an anonymous user.
type Credentials struct {
	Username, Password string
	// IdentityToken is exchanged for access tokens at the token service.
	IdentityToken string
	// RegistryToken is presented to the registry as it is.
	RegistryToken string
}

// Client fetches from registries. It is safe for concurrent use and keeps connections and tokens between calls.
type Client struct{}
