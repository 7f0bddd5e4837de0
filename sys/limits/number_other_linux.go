//go:build !amd64 && !arm64 && !riscv64 && !loong64

package limits

// The limit is not known here.
const prlimit64 = 0
