package run

import (
	"fmt"

	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/archutil"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// supported tells whether this host runs programs of a platform, by itself or through an emulator that is registered with
// the kernel. That there was one is believed.
func supported(p ocispec.Platform) error {
	if native(p) || runs(archutil.SupportedPlatforms(false), p) {
		return nil
	}
	return supportedNow(p) // one may have been registered meanwhile
}

// supportedNow is supported without the belief; see archutil.CacheMaxAge.
func supportedNow(p ocispec.Platform) error {
	p = platforms.Normalize(p)
	if p.OS != "linux" {
		return fmt.Errorf("this engine runs programs of linux only, not of %s: %w", platforms.Format(p), errdefs.ErrNotImplemented)
	}
	if native(p) || runs(archutil.SupportedPlatforms(true), p) {
		return nil
	}
	return fmt.Errorf("this host (%s) cannot run programs for %s: register an emulator with the kernel (binfmt_misc), as the packages qemu-user-static and binfmt-support do: %w",
		platforms.Format(platforms.Normalize(platforms.DefaultSpec())), platforms.Format(p), errdefs.ErrNotImplemented)
}

// native tells whether a platform is the host's.
func native(p ocispec.Platform) bool {
	p = platforms.Normalize(p)
	host := platforms.Normalize(platforms.DefaultSpec())
	return p.OS == host.OS && p.Architecture == host.Architecture && (p.Variant == "" || p.Variant == host.Variant)
}

func runs(known []ocispec.Platform, p ocispec.Platform) bool {
	p = platforms.Normalize(p)
	for _, k := range known {
		if platforms.Only(k).Match(p) {
			return true
		}
	}
	return false
}

func insecure(mode pb.SecurityMode) bool { return mode == pb.SecurityMode_INSECURE }
