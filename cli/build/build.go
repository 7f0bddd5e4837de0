// Package build is the command that builds images. It speaks BuildKit's protocol with the daemon: the front end, the solver
// and the cache are there, and this end serves what a build needs from its user: files, secrets, keys, credentials, and
// places to put a result. Only the program cove-build links this package: BuildKit's libraries take several milliseconds
// to get ready, which no other command should have to wait for.
package build

import (
	"fmt"
	"os"

	"github.com/cove-containers/cove/cli/command"
	"github.com/cove-containers/cove/cli/opts"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Command builds "build".
func Command(a *command.App) *cobra.Command {
	o := &options{}
	cmd := &cobra.Command{
		Use:   "build [OPTIONS] PATH | URL | -",
		Short: "Build an image from a Dockerfile",
		Args:  command.Exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.context = args[0]
			plainWarnings()
			o.warn(a, cmd.Flags())
			return run(cmd.Context(), a, o)
		},
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveFilterDirs
		},
		Annotations: command.Aliases("build", "builder build", "buildx build", "image build"),
	}
	fs := cmd.Flags()
	o.inputFlags(fs)
	o.resultFlags(fs)
	o.stepFlags(fs)
	o.oldFlags(fs)
	return cmd
}

// options are the flags of build as they were given.
type options struct {
	context, file, target                          string
	buildArgs, contexts, secrets, ssh              []string
	platforms, noCacheFilter, cacheFrom, cacheTo   []string
	noCache, pull                                  bool
	tags, labels, annotations, outputs             []string
	attests                                        []string
	sbom, provenance                               string
	push, load, squash                             bool
	imageIDFile, metadataFile                      string
	progress, call                                 string
	quiet, check                                   bool
	allow, hosts, ulimits                          []string
	network, cgroupParent                          string
	shmSize, memory, memorySwap                    int64
	cpuShares, cpuPeriod, cpuQuota                 int64
	cpusetCPUs, cpusetMems, isolation, builderName string
	securityOpts                                   []string
	compress, remove, forceRemove                  bool
}

// inputFlags say what is built, and from what.
func (o *options) inputFlags(fs *pflag.FlagSet) {
	opts.List(fs, &o.buildArgs, "build-arg", "", "Set build-time variables", nil)
	opts.List(fs, &o.contexts, "build-context", "", `Additional build contexts (e.g., name=path)`, nil)
	opts.List(fs, &o.cacheFrom, "cache-from", "", `External cache sources (e.g., "user/app:cache", "type=local,src=path/to/dir")`, nil)
	opts.List(fs, &o.cacheTo, "cache-to", "", `Cache export destinations (e.g., "user/app:cache", "type=local,dest=path/to/dir")`, nil)
	fs.StringVarP(&o.file, "file", "f", "", `Name of the Dockerfile (default: "PATH/Dockerfile")`)
	fs.BoolVar(&o.noCache, "no-cache", false, "Do not use cache when building the image")
	opts.List(fs, &o.noCacheFilter, "no-cache-filter", "", "Do not cache specified stages", nil)
	opts.List(fs, &o.platforms, "platform", "", "Set target platform for build", nil)
	fs.BoolVar(&o.pull, "pull", false, "Always attempt to pull all referenced images")
	opts.List(fs, &o.secrets, "secret", "", `Secret to expose to the build (format: "id=mysecret[,src=/local/secret]")`, nil)
	opts.List(fs, &o.ssh, "ssh", "", `SSH agent socket or keys to expose to the build (format: "default|<id>[=<socket>|<key>[,<key>]]")`, nil)
	fs.StringVar(&o.target, "target", "", "Set the target build stage to build")
	fs.StringVar(&o.call, "call", "build", `Set method for evaluating build ("check", "outline", "targets")`)
	fs.BoolVar(&o.check, "check", false, `Shorthand for "--call=check"`)
}

// resultFlags say what becomes of what was built, and what the user sees meanwhile.
func (o *options) resultFlags(fs *pflag.FlagSet) {
	opts.List(fs, &o.annotations, "annotation", "", "Add annotation to the image", nil)
	opts.List(fs, &o.attests, "attest", "", `Attestation parameters (format: "type=sbom,generator=image")`, nil)
	fs.StringVar(&o.imageIDFile, "iidfile", "", "Write the image ID to a file")
	opts.List(fs, &o.labels, "label", "", "Set metadata for an image", nil)
	fs.BoolVar(&o.load, "load", false, `Shorthand for "--output=type=docker"`)
	fs.StringVar(&o.metadataFile, "metadata-file", "", "Write build result metadata to a file")
	opts.List(fs, &o.outputs, "output", "o", `Output destination (format: "type=local,dest=path")`, nil)
	fs.StringVar(&o.progress, "progress", "auto", `Set type of progress output ("auto", "quiet", "plain", "tty", "rawjson"). Use plain to show container output`)
	fs.StringVar(&o.provenance, "provenance", "", `Shorthand for "--attest=type=provenance"`)
	fs.BoolVar(&o.push, "push", false, `Shorthand for "--output=type=registry"`)
	fs.BoolVarP(&o.quiet, "quiet", "q", false, "Suppress the build output and print image ID on success")
	fs.StringVar(&o.sbom, "sbom", "", `Shorthand for "--attest=type=sbom"`)
	fs.BoolVar(&o.squash, "squash", false, "Squash newly built layers into a single new layer")
	opts.List(fs, &o.tags, "tag", "t", `Name and optionally a tag (format: "name:tag")`, nil)
}

// stepFlags say what each RUN may do and use.
func (o *options) stepFlags(fs *pflag.FlagSet) {
	opts.Func(fs, "add-host", "", "list", `Add a custom host-to-IP mapping (format: "host:ip")`, func(s string) error {
		list, err := fields(s)
		o.hosts = append(o.hosts, list...)
		return err
	})
	opts.List(fs, &o.allow, "allow", "", `Allow extra privileged entitlement (e.g., "network.host", "security.insecure")`, nil)
	fs.StringVar(&o.cgroupParent, "cgroup-parent", "", `Set the parent cgroup for the "RUN" instructions during build`)
	fs.Int64Var(&o.cpuPeriod, "cpu-period", 0, "Limit the CPU CFS (Completely Fair Scheduler) period")
	fs.Int64Var(&o.cpuQuota, "cpu-quota", 0, "Limit the CPU CFS (Completely Fair Scheduler) quota")
	fs.Int64VarP(&o.cpuShares, "cpu-shares", "c", 0, "CPU shares (relative weight)")
	fs.StringVar(&o.cpusetCPUs, "cpuset-cpus", "", `CPUs in which to allow execution ("0-3", "0,1")`)
	fs.StringVar(&o.cpusetMems, "cpuset-mems", "", `MEMs in which to allow execution ("0-3", "0,1")`)
	opts.Bytes(fs, &o.memory, "memory", "m", "Memory limit")
	opts.SwapBytes(fs, &o.memorySwap, "memory-swap", "", `Swap limit equal to memory plus swap: "-1" to enable unlimited swap`)
	fs.StringVar(&o.network, "network", "default", `Set the networking mode for the "RUN" instructions during build`)
	opts.Bytes(fs, &o.shmSize, "shm-size", "", "Shared memory size for build containers")
	opts.List(fs, &o.ulimits, "ulimit", "", "Ulimit options", checkUlimit)
}

// oldFlags are taken for the sake of scripts; they have nothing to say any more.
func (o *options) oldFlags(fs *pflag.FlagSet) {
	fs.StringVar(&o.call, "print", "build", "Print result of information request (e.g., outline, targets)")
	fs.BoolVar(&o.compress, "compress", false, "Compress the build context using gzip")
	fs.BoolVar(&o.remove, "rm", true, "Remove intermediate containers after a successful build")
	fs.BoolVar(&o.forceRemove, "force-rm", false, "Always remove intermediate containers")
	fs.StringVar(&o.isolation, "isolation", "", "Container isolation technology")
	fs.StringVar(&o.builderName, "builder", "", "Override the configured builder instance")
	opts.List(fs, &o.securityOpts, "security-opt", "", "Security options", nil)
	for _, name := range []string{"print", "compress", "rm", "force-rm", "isolation", "builder", "security-opt"} {
		_ = fs.MarkHidden(name)
	}
}

// warn tells of flags that do nothing.
func (o *options) warn(a *command.App, fs *pflag.FlagSet) {
	if fs.Changed("isolation") {
		a.Warn("isolation flag is deprecated with BuildKit.")
	}
	if fs.Changed("security-opt") {
		a.Warn(`security-opt flag is deprecated. "RUN --security=insecure" should be used with BuildKit.`)
	}
}

// settle fills in what the environment and other flags decide, and refuses what does not go together.
func (o *options) settle() error {
	if o.check {
		o.call = "check"
	}
	if len(o.platforms) == 0 {
		if p := command.DefaultPlatform(); p != "" {
			o.platforms = []string{p}
		}
	}
	if epoch := os.Getenv("SOURCE_DATE_EPOCH"); epoch != "" {
		o.buildArgs = append([]string{"SOURCE_DATE_EPOCH=" + epoch}, o.buildArgs...) // what is given later counts
	}
	if o.quiet && o.progress != "auto" && o.progress != "quiet" {
		return fmt.Errorf("progress=%s and quiet cannot be used together", o.progress)
	}
	if o.quiet {
		o.progress = "quiet"
	}
	if o.progress == "auto" && os.Getenv("BUILDKIT_PROGRESS") != "" {
		o.progress = os.Getenv("BUILDKIT_PROGRESS")
	}
	if o.noCache && len(o.noCacheFilter) > 0 {
		return fmt.Errorf("--no-cache and --no-cache-filter cannot currently be used together")
	}
	return nil
}
