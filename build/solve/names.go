package solve

import (
	"context"
	"fmt"
)

// Names are what a step is called where nothing is known of the builds that were before: they are the same whatever a cache
// has had when the step was looked at, also where it was run anew.
type Names struct {
	// Key is what the step and what it reads decide.
	Key string
	// Definition is what the definition alone decides, of a step that reads parts of what other steps have made; else it is empty.
	Definition string
}

// Names tells a node's names, without running anything. A node that reads parts of what this job has not had at hand has the key that
// it was found by.
func (j *Job[R, M]) Names(ctx context.Context, n *Node[R, M]) (Names, error) {
	return j.progress(n).names.get(ctx, func(ctx context.Context) (Names, error) {
		asked, err := j.ask(ctx, n)
		if err != nil {
			return Names{}, err
		}
		key, err := j.Key(ctx, n)
		if err != nil || asked.Fresh {
			return Names{Key: key}, err
		}
		keys := make([]string, len(n.Inputs))
		for i, in := range n.Inputs {
			below, err := j.Names(ctx, in.Node)
			if err != nil {
				return Names{}, err
			}
			keys[i] = fmt.Sprintf("%s %d", below.Key, in.Output)
		}
		if !asked.parts() {
			return Names{Key: combine("key", asked.Digest, keys)}, nil
		}
		names := Names{Key: key}
		lasts, atHand := false, true
		for i := range asked.Content {
			if i >= len(keys) || asked.Content[i] == nil {
				continue
			}
			below := n.Inputs[i].Node
			found, err := j.ask(ctx, below)
			if err != nil {
				return Names{}, err
			}
			lasts = lasts || !found.Fresh
			atHand = atHand && j.progress(below).made.ready()
		}
		if lasts {
			names.Definition = combine("definition", asked.Digest, keys)
		}
		if atHand {
			if err := j.contents(ctx, n, asked, keys); err != nil {
				return Names{}, err
			}
			names.Key = combine("key", asked.Digest, keys)
		}
		return names, nil
	})
}
