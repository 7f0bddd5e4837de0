package oci

import (
	"runtime"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Host is the platform containers run on here: always Linux.
func Host() ocispec.Platform {
	return Normalize(ocispec.Platform{OS: "linux", Architecture: runtime.GOARCH})
}

var (
	systems       = []string{"aix", "android", "darwin", "dragonfly", "freebsd", "illumos", "ios", "js", "linux", "netbsd", "openbsd", "plan9", "solaris", "wasip1", "windows"}
	architectures = []string{"386", "amd64", "arm", "arm64", "loong64", "mips", "mips64", "mips64le", "mipsle", "ppc64", "ppc64le", "riscv64", "s390x", "wasm"}
)

// ParsePlatform reads "os", "arch", "os/arch" or "os/arch/variant"; what is left out is the host's. Behind the system may stand
// its version: "windows(10.0.20348)/amd64". Errors are errdefs.ErrInvalidArgument.
func ParsePlatform(s string) (ocispec.Platform, error) {
	parts := strings.Split(strings.ToLower(s), "/")
	version := ""
	if system, rest, ok := strings.Cut(parts[0], "("); ok && strings.HasSuffix(rest, ")") {
		parts[0], version = system, strings.TrimSuffix(rest, ")")
	}
	host := Host()
	var p ocispec.Platform
	switch len(parts) {
	case 1:
		if slices.Contains(systems, parts[0]) {
			p = ocispec.Platform{OS: parts[0], Architecture: host.Architecture, Variant: host.Variant}
		} else {
			p = ocispec.Platform{OS: host.OS, Architecture: parts[0]}
		}
	case 2:
		p = ocispec.Platform{OS: parts[0], Architecture: parts[1]}
	case 3:
		p = ocispec.Platform{OS: parts[0], Architecture: parts[1], Variant: parts[2]}
	default:
		return p, invalid("%q: cannot parse platform specifier", s)
	}
	p = Normalize(p)
	p.OSVersion = version
	if !slices.Contains(systems, p.OS) || !slices.Contains(architectures, p.Architecture) {
		return p, invalid("%q: unknown operating system or architecture", s)
	}
	return p, nil
}

// FormatPlatform is the inverse of ParsePlatform; what is empty reads "unknown".
func FormatPlatform(p ocispec.Platform) string {
	if p.OS == "" {
		return "unknown"
	}
	s := p.OS + "/" + p.Architecture
	if p.Variant != "" {
		s += "/" + p.Variant
	}
	return s
}

// Normalize gives the many spellings of one platform one form; the variants that mean nothing more than
// the architecture itself (arm64/v8, amd64/v1) are dropped.
func Normalize(p ocispec.Platform) ocispec.Platform {
	p.OS, p.Architecture, p.Variant = strings.ToLower(p.OS), strings.ToLower(p.Architecture), strings.ToLower(p.Variant)
	if p.OS == "macos" {
		p.OS = "darwin"
	}
	switch p.Architecture {
	case "i386":
		p.Architecture, p.Variant = "386", ""
	case "x86_64", "x86-64", "amd64":
		p.Architecture = "amd64"
		if p.Variant == "v1" {
			p.Variant = ""
		}
	case "aarch64", "arm64":
		p.Architecture = "arm64"
		if p.Variant == "8" || p.Variant == "v8" {
			p.Variant = ""
		}
	case "armhf":
		p.Architecture, p.Variant = "arm", "v7"
	case "armel":
		p.Architecture, p.Variant = "arm", "v6"
	case "arm":
		switch p.Variant {
		case "", "7":
			p.Variant = "v7"
		case "5", "6", "8":
			p.Variant = "v" + p.Variant
		}
	}
	return p
}

// Rank tells how well an image for have serves somebody who wants want: 0 is a perfect fit, larger is worse,
// -1 does not fit at all.
func Rank(want, have ocispec.Platform) int {
	want, have = Normalize(want), Normalize(have)
	if want.OS != have.OS || want.Architecture != have.Architecture {
		return -1
	}
	if want.Variant == have.Variant {
		return rankVersion(want.OSVersion, have.OSVersion)
	}
	switch want.Architecture {
	case "amd64":
		return rankUpTo(want.Variant, have.Variant, "v1")
	case "arm64":
		return rankUpTo(want.Variant, have.Variant, "v8")
	case "arm":
		return rankUpTo(want.Variant, have.Variant, "v7")
	}
	return -1
}

// rankVersion ranks versions of Windows, "10.0.20348.2113": the build must be the one that is wanted, the revision at its end need not.
func rankVersion(want, have string) int {
	build := func(version string) string {
		parts := strings.Split(version, ".")
		return strings.Join(parts[:min(3, len(parts))], ".")
	}
	switch {
	case want == "" || want == have:
		return 0
	case build(want) == build(have):
		return 1
	}
	return -1
}

// rankUpTo ranks variants of the form "v<number>": older ones run on newer hardware. base is what an empty
// variant stands for.
func rankUpTo(want, have, base string) int {
	if want == "" {
		want = base
	}
	if have == "" {
		have = base
	}
	if len(want) != 2 || len(have) != 2 || want[0] != 'v' || have[0] != 'v' || have[1] > want[1] {
		return -1
	}
	return int(want[1] - have[1])
}

// RankHost is Rank for this host when the user asked for no platform: it also takes what the hardware runs besides
// its own kind, 32-bit programs, after everything else.
func RankHost(have ocispec.Platform) int {
	host := Host()
	if rank := Rank(host, have); rank >= 0 {
		return rank
	}
	if host.Architecture == "amd64" && Rank(ocispec.Platform{OS: host.OS, Architecture: "386"}, have) >= 0 {
		return 100
	}
	return -1
}
