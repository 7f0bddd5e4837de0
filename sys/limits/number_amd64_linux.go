//go:build amd64

package limits

const prlimit64 = 302
