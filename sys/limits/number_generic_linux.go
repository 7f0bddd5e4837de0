//go:build arm64 || riscv64 || loong64

package limits

const prlimit64 = 261
