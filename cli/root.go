package cli

import (
	"strings"

	"github.com/cove-containers/cove/release"
	"github.com/spf13/cobra"
)

// entry is one command of the first level; group is the heading it stands under in the help.
type entry struct {
	name, group string
	build       func() *cobra.Command
}

const (
	common     = "Common Commands"
	management = "Management Commands"
	plain      = "Commands"
)

// entries are the commands of the first level. Only the one that is called is built: flags cost time.
func (a *app) entries() []entry {
	return []entry{
		{"run", common, a.containerRun}, {"exec", common, a.containerExec}, {"ps", common, a.containerPs},
		{"pull", common, a.imagePull}, {"images", common, a.images}, {"login", common, a.login}, {"logout", common, a.logout},
		{"version", common, a.version}, {"info", common, a.info},
		{"container", management, a.container}, {"context", management, a.context}, {"image", management, a.image},
		{"network", management, a.network}, {"system", management, a.system}, {"volume", management, a.volume},
		{"attach", plain, a.containerAttach}, {"create", plain, a.containerCreate}, {"diff", plain, a.containerDiff},
		{"events", plain, a.events}, {"history", plain, a.imageHistory}, {"inspect", plain, a.inspect},
		{"kill", plain, a.containerKill}, {"load", plain, a.imageLoad}, {"logs", plain, a.containerLogs},
		{"pause", plain, a.containerPause}, {"port", plain, a.containerPort}, {"rename", plain, a.containerRename},
		{"restart", plain, a.containerRestart}, {"rm", plain, a.containerRm}, {"rmi", plain, a.rmi}, {"save", plain, a.imageSave},
		{"start", plain, a.containerStart}, {"stats", plain, a.containerStats}, {"stop", plain, a.containerStop},
		{"tag", plain, a.imageTag}, {"top", plain, a.containerTop}, {"unpause", plain, a.containerUnpause},
		{"update", plain, a.containerUpdate}, {"wait", plain, a.containerWait},
		{"build", "", a.missing("build", "building images")}, {"push", "", a.missing("push", "pushing images")},
		{"commit", "", a.missing("commit", "making images from containers")}, {"cp", "", a.missing("cp", "copying files into and out of containers")},
		{"export", "", a.missing("export", "exporting containers")}, {"import", "", a.missing("import", "importing images")},
		{"search", "", a.missing("search", "searching registries")}, {"buildx", "", a.missing("buildx", "building images")},
		{"compose", "", a.missing("compose", "compose files")}, {"swarm", "", a.missing("swarm", "swarm mode")},
		{"checkpoint", "", a.missing("checkpoint", "checkpoints")}, {"plugin", "", a.missing("plugin", "plugins")},
		{"builder", "", a.missing("builder", "building images")}, {"manifest", "", a.missing("manifest", "editing manifests")},
	}
}

// root builds the command of the program itself and, of the others, the one that args call; all of them when help or
// completion has to know them.
func (a *app) root(args []string) *cobra.Command {
	cmd := &cobra.Command{
		Use:              Name + " [OPTIONS] COMMAND [ARG...]",
		Short:            "A container engine for images, containers, networks and volumes",
		SilenceUsage:     true,
		SilenceErrors:    true,
		TraverseChildren: true,
		Args:             unknownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cmd.HelpFunc()(cmd, nil)
			return nil
		},
		Version:           release.Version + ", build " + release.Commit,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
	}
	cmd.SetVersionTemplate("Cove version {{.Version}}\n")
	cmd.SetOut(a.out)
	cmd.SetErr(a.err)
	cmd.SetHelpFunc(a.help)
	cmd.SetUsageFunc(func(c *cobra.Command) error { a.help(c, nil); return nil })
	cmd.SetFlagErrorFunc(flagError)
	a.global.add(cmd.Flags())
	called := a.called(args)
	for _, e := range a.entries() {
		if called == "" || called == e.name {
			child := e.build()
			child.Annotations = withAnnotation(child.Annotations, "group", e.group)
			child.Hidden = e.group == ""
			cmd.AddCommand(child)
		}
	}
	if called == "" {
		cmd.InitDefaultCompletionCmd(args...)
	}
	cmd.SetHelpCommand(a.helpCommand(cmd))
	exactUse(cmd)
	return cmd
}

// exactUse has every command print its line of use as it is written, without "[flags]" behind it.
func exactUse(cmd *cobra.Command) {
	cmd.DisableFlagsInUseLine = true
	for _, child := range cmd.Commands() {
		exactUse(child)
	}
}

// called gives the name of the command that args call, empty when it is none of entries.
func (a *app) called(args []string) string {
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if !strings.HasPrefix(arg, "-") {
			for _, e := range a.entries() {
				if e.name == arg {
					return arg
				}
			}
			return ""
		}
		if takesValue(arg) {
			i++
		}
	}
	return ""
}

func withAnnotation(m map[string]string, key, val string) map[string]string {
	if m == nil {
		m = map[string]string{}
	}
	m[key] = val
	return m
}

// group is a command that only holds others.
func group(name, short string, children ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use:   name,
		Short: short,
		Args:  unknownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cmd.HelpFunc()(cmd, nil)
			return nil
		},
	}
	cmd.AddCommand(children...)
	return cmd
}

// missing makes a command that says that it is not there yet, whatever flags it is called with.
func (a *app) missing(name, what string) func() *cobra.Command {
	return func() *cobra.Command {
		return &cobra.Command{
			Use:                name,
			Short:              "Not supported yet",
			DisableFlagParsing: true,
			Hidden:             true,
			RunE: func(cmd *cobra.Command, _ []string) error {
				return &statusError{code: 1, text: Name + ": '" + cmd.CommandPath() + "' is not supported yet: " + what + " is still missing in Cove"}
			},
		}
	}
}

func (a *app) container() *cobra.Command {
	return group("container", "Manage containers",
		a.containerAttach(), a.containerCreate(), a.containerDiff(), a.containerExec(), a.containerInspect(), a.containerKill(),
		a.containerLogs(), a.containerLs(), a.containerPause(), a.containerPort(), a.containerPrune(), a.containerRename(),
		a.containerRestart(), a.containerRm(), a.containerRun(), a.containerStart(), a.containerStats(), a.containerStop(),
		a.containerTop(), a.containerUnpause(), a.containerUpdate(), a.containerWait(),
		a.missing("commit", "making images from containers")(), a.missing("cp", "copying files into and out of containers")(),
		a.missing("export", "exporting containers")())
}

func (a *app) image() *cobra.Command {
	return group("image", "Manage images",
		a.imageHistory(), a.imageInspect(), a.imageLoad(), a.imageLs(), a.imagePrune(), a.imagePull(), a.imageRm(), a.imageSave(), a.imageTag(),
		a.missing("build", "building images")(), a.missing("push", "pushing images")(), a.missing("import", "importing images")())
}

func (a *app) volume() *cobra.Command {
	return group("volume", "Manage volumes", a.volumeCreate(), a.volumeInspect(), a.volumeLs(), a.volumePrune(), a.volumeRm())
}

func (a *app) network() *cobra.Command {
	const what = "user-defined networks"
	return group("network", "Manage networks", a.networkInspect(), a.networkLs(), a.networkPrune(),
		a.missing("create", what)(), a.missing("rm", what)(), a.missing("connect", what)(), a.missing("disconnect", what)())
}

func (a *app) system() *cobra.Command {
	return group("system", "Manage the engine", a.systemDf(), a.events(), a.info(), a.systemPrune())
}

func (a *app) context() *cobra.Command {
	return group("context", "Manage contexts", a.contextLs(), a.contextShow(), a.contextUse(), a.contextInspect(),
		a.missing("create", "making contexts")(), a.missing("rm", "removing contexts")())
}
