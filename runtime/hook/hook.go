// Package hook runs the programs that a document wants to have run on a container's way.
package hook

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Run runs hooks as programs of the host with the state on their standard input.
func Run(kind string, hooks []specs.Hook, state specs.State) error {
	return Each(kind, hooks, state, run)
}

// Each has run carry out hooks in their order, with the state as text; the first that fails ends it.
func Each(kind string, hooks []specs.Hook, state specs.State, run func(h specs.Hook, state []byte) error) error {
	if len(hooks) == 0 {
		return nil
	}
	text, err := json.Marshal(state)
	if err != nil {
		return fmt.Errorf("describe container to hooks: %w", err)
	}
	for i, h := range hooks {
		if err := run(h, text); err != nil {
			return fmt.Errorf("error running %s hook #%d: %w", kind, i, err)
		}
	}
	return nil
}

func run(h specs.Hook, state []byte) error {
	ctx := context.Background()
	if h.Timeout != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(*h.Timeout)*time.Second)
		defer cancel()
	}
	var words bytes.Buffer
	cmd := exec.CommandContext(ctx, h.Path)
	if len(h.Args) > 0 {
		cmd.Args = h.Args
	}
	cmd.Env = append([]string{}, h.Env...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(state), &words, &words
	err := cmd.Run()
	if ctx.Err() != nil {
		return fmt.Errorf("hook ran past specified timeout of %ds: %w", *h.Timeout, ctx.Err())
	}
	if err != nil {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(words.String()))
	}
	return nil
}
