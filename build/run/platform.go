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
// the kernel.
func supported(p ocispec.Platform) error {
	p = platforms.Normalize(p)
	if p.OS != "linux" {
		return fmt.Errorf("this engine runs programs of linux only, not of %s: %w", platforms.Format(p), errdefs.ErrNotImplemented)
	}
	host := platforms.Normalize(platforms.DefaultSpec())
	if p.Architecture == host.Architecture && (p.Variant == "" || p.Variant == host.Variant) {
		return nil
	}
	known := archutil.SupportedPlatforms(false)
	if runs(known, p) {
		return nil
	}
	if known = archutil.SupportedPlatforms(true); runs(known, p) { // it may have been registered meanwhile
		return nil
	}
	return fmt.Errorf("this host (%s) cannot run programs for %s: register an emulator with the kernel (binfmt_misc), as the packages qemu-user-static and binfmt-support do: %w",
		platforms.Format(host), platforms.Format(p), errdefs.ErrNotImplemented)
}

func runs(known []ocispec.Platform, p ocispec.Platform) bool {
	for _, k := range known {
		if platforms.Only(k).Match(p) {
			return true
		}
	}
	return false
}

func insecure(mode pb.SecurityMode) bool { return mode == pb.SecurityMode_INSECURE }
