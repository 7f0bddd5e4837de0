package manifest

import (
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/cove-containers/cove/cli/command"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/cobra"
)

func Annotate(a *command.App) *cobra.Command {
	var p ocispec.Platform
	cmd := &cobra.Command{
		Use:               "annotate [OPTIONS] MANIFEST_LIST MANIFEST",
		Short:             "Add additional information to a local image manifest",
		Args:              command.Exactly(2),
		ValidArgsFunction: complete(a),
		RunE: func(_ *cobra.Command, args []string) error {
			target, err := parse(args[0])
			if err != nil {
				return fmt.Errorf("annotate: error parsing name for manifest list %s: %w", args[0], err)
			}
			name, err := parse(args[1])
			if err != nil {
				return fmt.Errorf("annotate: error parsing name for manifest %s: %w", args[1], err)
			}
			e, err := lists(a).get(target, name)
			if errdefs.IsNotFound(err) {
				return fmt.Errorf("manifest for image %s does not exist in %s", args[1], args[0])
			}
			if err != nil {
				return err
			}
			if e.Descriptor.Platform, err = annotated(e.Descriptor.Platform, p); err != nil {
				return err
			}
			return lists(a).put(target, name, e)
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&p.Architecture, "arch", "", "Set architecture")
	fs.StringVar(&p.OS, "os", "", "Set operating system")
	fs.StringSliceVar(&p.OSFeatures, "os-features", nil, "Set operating system feature")
	fs.StringVar(&p.OSVersion, "os-version", "", "Set operating system version")
	fs.StringVar(&p.Variant, "variant", "", "Set architecture variant")
	return cmd
}

// annotated lays what is given of p over a platform, which may be nil.
func annotated(old *ocispec.Platform, p ocispec.Platform) (*ocispec.Platform, error) {
	out := ocispec.Platform{}
	if old != nil {
		out = *old
	}
	for _, field := range []struct {
		to   *string
		with string
	}{{&out.OS, p.OS}, {&out.Architecture, p.Architecture}, {&out.OSVersion, p.OSVersion}, {&out.Variant, p.Variant}} {
		if field.with != "" {
			*field.to = field.with
		}
	}
	for _, feature := range p.OSFeatures {
		if !slices.Contains(out.OSFeatures, feature) {
			out.OSFeatures = append(out.OSFeatures, feature)
		}
	}
	if !slices.Contains(strings.Fields(architectures[out.OS]), out.Architecture) {
		return nil, fmt.Errorf("manifest entry for image has unsupported os/arch combination: %s/%s", out.OS, out.Architecture)
	}
	return &out, nil
}

// architectures are those that programs for an operating system can be built for.
var architectures = map[string]string{
	"aix":       "ppc64",
	"darwin":    "386 amd64 arm arm64",
	"dragonfly": "amd64",
	"freebsd":   "386 amd64 arm arm64 riscv64",
	"illumos":   "amd64",
	"linux":     "386 amd64 arm arm64 loong64 mips mipsle mips64 mips64le ppc64 ppc64le riscv64 s390x",
	"netbsd":    "386 amd64 arm arm64",
	"openbsd":   "386 amd64 arm arm64 ppc64 riscv64",
	"plan9":     "386 amd64 arm",
	"solaris":   "amd64",
	"wasip1":    "wasm",
	"windows":   "386 amd64 arm arm64",
}
