package snapshot

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerfile/shell"
	ct "github.com/moby/moby/api/types/container"
	nt "github.com/moby/moby/api/types/network"
	"github.com/moby/sys/signal"

	"github.com/cove-containers/cove/oci"
)

// mayChange are the instructions that say something about an image without making it.
var mayChange = []string{"cmd", "entrypoint", "env", "expose", "healthcheck", "label", "onbuild", "stopsignal", "user", "volume", "workdir"}

// changed is a config after the instructions; the one given stays as it is.
func changed(config oci.ImageConfig, lines []string) (oci.ImageConfig, error) {
	if len(lines) == 0 {
		return config, nil
	}
	config.Env, config.OnBuild = slices.Clone(config.Env), slices.Clone(config.OnBuild)
	config.Labels, config.Volumes, config.ExposedPorts = maps.Clone(config.Labels), maps.Clone(config.Volumes), maps.Clone(config.ExposedPorts)
	file, err := parser.Parse(strings.NewReader(strings.Join(lines, "\n")))
	if err != nil {
		return config, invalid("%v", err)
	}
	ch := changer{config: &config, words: shell.NewLex(file.EscapeToken)}
	for _, node := range file.AST.Children {
		if !slices.Contains(mayChange, strings.ToLower(node.Value)) {
			return config, invalid("%s is not a valid change command", node.Value)
		}
		instruction, err := instructions.ParseInstruction(node)
		if err == nil {
			err = ch.apply(instruction)
		}
		if err != nil {
			return config, invalid("%v", err)
		}
	}
	return config, nil
}

func invalid(format string, args ...any) error {
	return errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf(format, args...))
}

// changer applies instructions one after another.
type changer struct {
	config  *oci.ImageConfig
	words   *shell.Lex
	command bool // CMD was among them
}

func (ch *changer) apply(instruction any) error {
	env := shell.EnvsFromSlice(ch.config.Env)
	if i, ok := instruction.(instructions.SupportsSingleWordExpansion); ok {
		err := i.Expand(func(word string) (string, error) {
			out, _, err := ch.words.ProcessWord(word, env)
			return out, err
		})
		if err != nil {
			return err
		}
	}
	c := ch.config
	switch i := instruction.(type) {
	case *instructions.CmdCommand:
		c.Cmd, ch.command = ch.line(i.ShellDependantCmdLine), true
	case *instructions.EntrypointCommand:
		c.Entrypoint = ch.line(i.ShellDependantCmdLine)
		if !ch.command { // arguments were meant for another program
			c.Cmd = nil
		}
	case *instructions.EnvCommand:
		for _, e := range i.Env {
			c.Env = withVariable(c.Env, e.Key, e.Value)
		}
	case *instructions.ExposeCommand:
		return ch.expose(i.Ports, env)
	case *instructions.HealthCheckCommand:
		c.Healthcheck = i.Health
	case *instructions.LabelCommand:
		for _, l := range i.Labels {
			c.Labels = with(c.Labels, l.Key, l.Value)
		}
	case *instructions.OnbuildCommand:
		c.OnBuild = append(c.OnBuild, i.Expression)
	case *instructions.StopSignalCommand:
		if _, err := signal.ParseSignal(i.Signal); err != nil {
			return err
		}
		c.StopSignal = i.Signal
	case *instructions.UserCommand:
		c.User = i.User
	case *instructions.VolumeCommand:
		for _, v := range i.Volumes {
			if v == "" {
				return invalid("VOLUME specified can not be an empty string")
			}
			c.Volumes = with(c.Volumes, v, struct{}{})
		}
	case *instructions.WorkdirCommand:
		c.WorkingDir = path.Join("/", c.WorkingDir, i.Path)
		if path.IsAbs(i.Path) {
			c.WorkingDir = path.Clean(i.Path)
		}
	}
	return nil
}

// line is a command as it is run: the shell form through the shell.
func (ch *changer) line(l instructions.ShellDependantCmdLine) []string {
	if !l.PrependShell {
		return l.CmdLine
	}
	sh := ch.config.Shell
	if len(sh) == 0 {
		sh = []string{"/bin/sh", "-c"}
	}
	return slices.Concat(sh, l.CmdLine)
}

func (ch *changer) expose(ports []string, env shell.EnvGetter) error {
	for _, text := range ports {
		words, err := ch.words.ProcessWords(text, env)
		if err != nil {
			return err
		}
		for _, word := range words {
			span, err := nt.ParsePortRange(word)
			if err != nil {
				return err
			}
			for p := range span.All() {
				ch.config.ExposedPorts = with(ch.config.ExposedPorts, p.String(), struct{}{})
			}
		}
	}
	return nil
}

func with[V any](m map[string]V, key string, value V) map[string]V {
	if m == nil {
		m = map[string]V{}
	}
	m[key] = value
	return m
}

func withVariable(env []string, name, value string) []string {
	is := func(entry string) bool { n, _, _ := strings.Cut(entry, "="); return n == name }
	if i := slices.IndexFunc(env, is); i >= 0 {
		env[i] = name + "=" + value
		return env
	}
	return append(env, name+"="+value)
}

// overlaid is the config of an image made of a container: what the request says, and the container's own for the rest.
func overlaid(request, own *ct.Config) oci.ImageConfig {
	out := imageConfig(own)
	if request == nil {
		return out
	}
	wish := imageConfig(request)
	for _, s := range []struct{ to, wish *string }{
		{&out.User, &wish.User}, {&out.WorkingDir, &wish.WorkingDir}, {&out.StopSignal, &wish.StopSignal},
	} {
		if *s.wish != "" {
			*s.to = *s.wish
		}
	}
	if len(wish.Entrypoint) > 0 || len(wish.Cmd) > 0 {
		if wish.Entrypoint != nil {
			out.Entrypoint = wish.Entrypoint
		}
		out.Cmd = wish.Cmd
	}
	for _, entry := range wish.Env {
		name, value, _ := strings.Cut(entry, "=")
		out.Env = withVariable(out.Env, name, value)
	}
	for k, v := range wish.Labels {
		out.Labels = with(out.Labels, k, v)
	}
	for k := range wish.Volumes {
		out.Volumes = with(out.Volumes, k, struct{}{})
	}
	for k := range wish.ExposedPorts {
		out.ExposedPorts = with(out.ExposedPorts, k, struct{}{})
	}
	if wish.Healthcheck != nil {
		out.Healthcheck = wish.Healthcheck
	}
	if len(wish.Shell) > 0 {
		out.Shell = wish.Shell
	}
	out.OnBuild = append(out.OnBuild, wish.OnBuild...)
	return out
}

// imageConfig are a container's settings in the words of an image's, nothing shared.
func imageConfig(c *ct.Config) oci.ImageConfig {
	out := oci.ImageConfig{}
	out.User, out.WorkingDir, out.StopSignal = c.User, c.WorkingDir, c.StopSignal
	out.Entrypoint, out.Cmd = slices.Clone(c.Entrypoint), slices.Clone(c.Cmd)
	out.Labels = maps.Clone(c.Labels)
	for target := range c.Volumes {
		if path.IsAbs(target) { // others are a -v that Docker's client has put there: v:/data
			out.Volumes = with(out.Volumes, target, struct{}{})
		}
	}
	out.OnBuild, out.Shell, out.Healthcheck = slices.Clone(c.OnBuild), slices.Clone(c.Shell), c.Healthcheck
	for _, entry := range c.Env {
		if strings.Contains(entry, "=") { // others take a variable of the image away
			out.Env = append(out.Env, entry)
		}
	}
	for p := range c.ExposedPorts {
		out.ExposedPorts = with(out.ExposedPorts, p.String(), struct{}{})
	}
	return out
}
