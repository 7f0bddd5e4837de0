package command

import (
	"strings"

	"github.com/moby/sys/signal"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// CompleteFlags has the values of flags completed, in root and all below it. A flag means the same in every command that
// has it, so the flags are known by their names. It takes time: only a shell that asks for completions needs it.
func (a *App) CompleteFlags(root *cobra.Command) {
	root.LocalFlags().VisitAll(func(f *pflag.Flag) {
		if f.Value.Type() == "bool" || namesFile(f.Name) {
			return
		}
		complete := a.value(root, f)
		if complete == nil {
			complete = cobra.NoFileCompletions
		}
		_ = root.RegisterFlagCompletionFunc(f.Name, complete)
	})
	for _, child := range root.Commands() {
		a.CompleteFlags(child)
	}
}

// namesFile tells the flags whose value is a file or folder, which shells complete by themselves.
func namesFile(flag string) bool {
	switch flag {
	case "cidfile", "config", "device", "env-file", "file", "iidfile", "input", "label-file", "metadata-file", "output", "tlscacert", "tlscert",
		"tlskey", "volume":
		return true
	}
	return false
}

// value tells how the value of a flag is completed, nil when nothing is known of it.
func (a *App) value(cmd *cobra.Command, f *pflag.Flag) cobra.CompletionFunc {
	switch f.Name {
	case "context":
		return func(cmd *cobra.Command, _ []string, word string) ([]string, cobra.ShellCompDirective) {
			return a.CompleteContexts(cmd, nil, word)
		}
	case "network":
		if cmd.Name() == "build" {
			return cobra.FixedCompletions([]string{"default", "host", "none"}, Nothing)
		}
		return func(cmd *cobra.Command, _ []string, word string) ([]string, cobra.ShellCompDirective) {
			names, how := a.CompleteNetworks(cmd, nil, word)
			return append(names, "container:"), how
		}
	case "volumes-from", "link":
		return func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
			return a.Containers(cmd), Nothing
		}
	case "runtime", "log-driver":
		return a.ofDaemon(f.Name)
	case "signal", "stop-signal":
		return cobra.FixedCompletions(sorted(signal.SignalMap), Nothing)
	case "filter":
		return cobra.FixedCompletions(words(filters[cmd.CommandPath()]), Nothing|cobra.ShellCompDirectiveNoSpace)
	case "format":
		if f.Usage == FormatUsage {
			return cobra.FixedCompletions([]string{"table", "json"}, Nothing)
		}
		return cobra.FixedCompletions([]string{"json"}, Nothing)
	}
	if known, ok := values[f.Name]; ok {
		how := Nothing
		if strings.Contains(known, "=") || strings.Contains(known, ":") {
			how |= cobra.ShellCompDirectiveNoSpace
		}
		return cobra.FixedCompletions(words(known), how)
	}
	return nil
}

// ofDaemon offers what the daemon says it has.
func (a *App) ofDaemon(flag string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		daemon, err := a.Client()
		if err != nil {
			return nil, Nothing
		}
		info, _, err := daemon.Info(cmd.Context())
		switch {
		case err != nil:
			return nil, cobra.ShellCompDirectiveError
		case flag == "runtime":
			return sorted(info.Runtimes), Nothing
		}
		return info.Plugins.Log, Nothing
	}
}

func words(list string) []string { return strings.Fields(list) }

const capabilities = "ALL AUDIT_CONTROL AUDIT_READ AUDIT_WRITE BLOCK_SUSPEND BPF CHECKPOINT_RESTORE CHOWN DAC_OVERRIDE DAC_READ_SEARCH " +
	"FOWNER FSETID IPC_LOCK IPC_OWNER KILL LEASE LINUX_IMMUTABLE MAC_ADMIN MAC_OVERRIDE MKNOD NET_ADMIN NET_BIND_SERVICE NET_BROADCAST " +
	"NET_RAW PERFMON SETFCAP SETGID SETPCAP SETUID SYSLOG SYS_ADMIN SYS_BOOT SYS_CHROOT SYS_MODULE SYS_NICE SYS_PACCT SYS_PTRACE " +
	"SYS_RAWIO SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG WAKE_ALARM"

// values are those a flag can have, as far as they can be listed.
var values = map[string]string{
	"arch":         "386 amd64 arm arm64 loong64 mips64le ppc64le riscv64 s390x",
	"allow":        "network.host security.insecure",
	"attach":       "stderr stdin stdout",
	"call":         "build check outline targets",
	"cap-add":      capabilities,
	"cap-drop":     capabilities,
	"cgroupns":     "host private",
	"ipc":          "container: host none private shareable",
	"log-level":    "debug error fatal info warn",
	"mount":        "type=bind, type=image, type=tmpfs, type=volume,",
	"os":           "darwin freebsd linux windows",
	"pid":          "container: host",
	"platform":     "linux/386 linux/amd64 linux/arm/v6 linux/arm/v7 linux/arm64 linux/ppc64le linux/riscv64 linux/s390x",
	"progress":     "auto plain quiet rawjson tty",
	"pull":         "always missing never",
	"restart":      "always no on-failure unless-stopped",
	"security-opt": "apparmor= label=disable no-new-privileges seccomp= systempaths=unconfined writable-cgroups=true",
	"type":         "container image network volume",
	"ulimit":       "as= chroot= core= cpu= data= fsize= locks= memlock= msgqueue= nice= nofile= nproc= rss= rtprio= rttime= sigpending= stack=",
	"userns":       "host",
	"uts":          "host",
	"variant":      "v5 v6 v7 v8",
}

// filters are the conditions that commands know.
var filters = map[string]string{
	Name + " ps":              containerFilters,
	Name + " container ls":    containerFilters,
	Name + " images":          imageFilters,
	Name + " image ls":        imageFilters,
	Name + " volume ls":       "dangling=true dangling=false driver= label= name=",
	Name + " network ls":      "dangling=true dangling=false driver= id= label= name= scope= type=builtin type=custom",
	Name + " builder du":      "id= parent= type= description= inuse= shared= private= mutable= immutable=",
	Name + " builder prune":   "id= parent= type= description= inuse shared private until=",
	Name + " container prune": pruneFilters,
	Name + " image prune":     pruneFilters,
	Name + " network prune":   pruneFilters,
	Name + " system prune":    pruneFilters,
	Name + " volume prune":    "label= label!=",
	Name + " events":          eventFilters,
	Name + " system events":   eventFilters,
	Name + " search":          "is-official=true is-official=false stars=",
}

const (
	containerFilters = "ancestor= before= exited= expose= health=healthy health=none health=starting health=unhealthy id= is-task= label= name= network= " +
		"publish= since= status=created status=dead status=exited status=paused status=removing status=restarting status=running volume="
	imageFilters = "before= dangling=true dangling=false label= reference= since= until="
	pruneFilters = "label= label!= until="
	eventFilters = "container= event= image= label= network= type=container type=daemon type=image type=network type=volume volume="
)
