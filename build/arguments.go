package build

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerui"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
)

// reader is the bridge of one call of the Dockerfile front end, which sees what that reads.
type reader struct {
	*bridge

	mu       sync.Mutex
	triggers []string // of the images that were asked for: their ONBUILD instructions
	passed   bool     // to the front end that the Dockerfile's first line names
}

// Solve implements gateway.Client.
func (r *reader) Solve(ctx context.Context, req gateway.SolveRequest) (*gateway.Result, error) {
	if req.Frontend != "" {
		r.mu.Lock()
		r.passed = true
		r.mu.Unlock()
	}
	return r.bridge.Solve(ctx, req)
}

// ResolveSourceMetadata implements gateway.Client.
func (r *reader) ResolveSourceMetadata(ctx context.Context, op *pb.SourceOp, opt sourceresolver.Opt) (*sourceresolver.MetaResponse, error) {
	found, err := r.bridge.ResolveSourceMetadata(ctx, op, opt)
	if err == nil && found.Image != nil {
		var image struct {
			Config struct{ OnBuild []string }
		}
		_ = json.Unmarshal(found.Image.Config, &image) // what is wrong with it is the front end's to say
		r.mu.Lock()
		r.triggers = append(r.triggers, image.Config.OnBuild...)
		r.mu.Unlock()
	}
	return found, err
}

// ResolveImageConfig implements gateway.Client.
func (r *reader) ResolveImageConfig(ctx context.Context, name string, opt sourceresolver.Opt) (string, digest.Digest, []byte, error) {
	return sourceresolver.NewImageMetaResolver(r).ResolveImageConfig(ctx, name, opt)
}

// Unconsumed begins the warning of build arguments that no ARG asks for. BuildKit's front end does not give it.
const Unconsumed = "[Warning] One or more build-args "

// warnUnconsumed warns of build arguments that no ARG asks for: none of the Dockerfile, whatever stages are built, and none
// that a base image has its children do. A front end that was only asked about the Dockerfile warns of nothing.
func (r *reader) warnUnconsumed(ctx context.Context) {
	var left []string
	for option := range r.options {
		if name, ok := strings.CutPrefix(option, "build-arg:"); ok && !predefined(name) {
			left = append(left, name)
		}
	}
	r.mu.Lock()
	passed, triggers := r.passed, r.triggers
	r.mu.Unlock()
	if len(left) == 0 || passed || r.options["requestid"] != "" {
		return
	}
	ui, err := dockerui.NewClient(r.bridge)
	if err != nil {
		return
	}
	source, err := ui.ReadEntrypoint(ctx, "Dockerfile") // once more, and it is here already
	if err != nil {
		return
	}
	asked := declared(source.Data)
	for _, trigger := range triggers {
		asked = append(asked, declaredBy(trigger)...)
	}
	left = slices.DeleteFunc(left, func(name string) bool { return slices.Contains(asked, name) })
	if len(left) == 0 {
		return
	}
	slices.Sort(left)
	source.Warn(ctx, fmt.Sprintf("%s%v were not consumed", Unconsumed, left), gateway.WarnOpts{Level: 1})
}

// always are build arguments that the builder itself goes by; no Dockerfile has to declare them. Proxies are named in either case.
var always = []string{
	"http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy", "source_date_epoch",
	"targetplatform", "targetos", "targetosversion", "targetarch", "targetvariant", "targetstage",
	"buildplatform", "buildos", "buildosversion", "buildarch", "buildvariant",
}

func predefined(name string) bool {
	return strings.HasPrefix(name, "BUILDKIT_") || slices.Contains(always, strings.ToLower(name))
}

// declared are the names of all ARG instructions of a Dockerfile.
func declared(dockerfile []byte) (names []string) {
	tree, err := parser.Parse(bytes.NewReader(dockerfile))
	if err != nil {
		return nil
	}
	stages, globals, err := instructions.Parse(tree.AST, linter.New(&linter.Config{SkipAll: true}))
	if err != nil {
		return nil
	}
	for i := range globals {
		names = append(names, keys(&globals[i])...)
	}
	for _, stage := range stages {
		for _, command := range stage.Commands {
			switch c := command.(type) {
			case *instructions.ArgCommand:
				names = append(names, keys(c)...)
			case *instructions.OnbuildCommand: // what another stage may begin with
				names = append(names, declaredBy(c.Expression)...)
			}
		}
	}
	return names
}

// declaredBy are the names of an instruction that stands alone, if it is an ARG.
func declaredBy(trigger string) []string {
	tree, err := parser.Parse(strings.NewReader(trigger))
	if err != nil || len(tree.AST.Children) != 1 {
		return nil
	}
	command, err := instructions.ParseCommand(tree.AST.Children[0])
	if err != nil {
		return nil
	}
	if arg, ok := command.(*instructions.ArgCommand); ok {
		return keys(arg)
	}
	return nil
}

func keys(arg *instructions.ArgCommand) (names []string) {
	for _, pair := range arg.Args {
		names = append(names, pair.Key)
	}
	return names
}
