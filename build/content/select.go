package content

import (
	"context"
	"crypto/sha256"
	"fmt"
	"hash"
	"path"
	"runtime"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/patternmatcher"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/cove-containers/cove/sys"
)

// Selector picks a part of a file system.
type Selector struct {
	// Path of a file or directory, or with Wildcard a pattern of such.
	Path     string
	Wildcard bool
	// Follow also follows a link that Path itself leads to.
	Follow bool
	// Include and Exclude are patterns, as in .dockerignore, of what counts below Path; none include all.
	Include, Exclude []string
	// Required are beginnings of paths something must be found under.
	Required []string
}

// plain tells that the selector picks a path with all below it.
func (s Selector) plain() bool { return !s.Wildcard && len(s.Include) == 0 && len(s.Exclude) == 0 }

// Digest is Store.Digest of this pile.
func (p *Pile) Digest(ctx context.Context, selectors ...Selector) (digest.Digest, error) {
	if len(selectors) == 0 {
		selectors = []Selector{{}}
	}
	all := sha256.New()
	for _, s := range selectors {
		one, err := p.digest(ctx, s)
		if err != nil {
			return "", err
		}
		record(all, one.String())
	}
	return digest.NewDigest(digest.SHA256, all), nil
}

// record adds a string to a hash so that no two lists of strings make the same bytes.
func record(h hash.Hash, s string) { fmt.Fprintf(h, "%d:%s", len(s), s) }

func notFound(path string) error {
	return errdefs.ErrNotFound.WithMessage(fmt.Sprintf("%q: not found", path))
}

func (p *Pile) digest(ctx context.Context, s Selector) (digest.Digest, error) {
	clean := path.Join("/", s.Path)
	if !s.plain() {
		return p.filtered(ctx, s, clean)
	}
	n, err := p.walk(clean, s.Follow)
	switch {
	case err != nil:
		return "", err
	case n == nil && clean == "/":
		return digest.FromBytes(nil), nil
	case n == nil:
		return "", notFound(clean)
	}
	if err := p.hash(ctx, []*Node{n}); err != nil {
		return "", err
	}
	return p.sum(ctx, n)
}

// sum is the digest of a node with all below it, without its name.
func (p *Pile) sum(ctx context.Context, n *Node) (digest.Digest, error) {
	if known := p.known(n); known != "" {
		return known, nil
	}
	h := sha256.New()
	record(h, string(n.top().header()))
	switch n.Stat().Kind() {
	case sys.KindFile:
		content, err := n.parts[0].of.content(ctx, n.top(), n.path)
		if err != nil {
			return "", err
		}
		record(h, content.String())
	case sys.KindDir:
		kids, err := p.Kids(n)
		if err != nil {
			return "", err
		}
		for _, kid := range kids {
			one, err := p.sum(ctx, kid)
			if err != nil {
				return "", err
			}
			record(h, kid.Name())
			record(h, one.String())
		}
	}
	sum := digest.NewDigest(digest.SHA256, h)
	if len(n.parts) == 1 {
		n.top().whole.Store(&sum)
	}
	p.mu.Lock()
	n.sum = sum
	p.mu.Unlock()
	return sum, nil
}

// known is the sum of a node, if it was computed before: for this pile, or for another one with the same layer, when that
// alone has it.
func (p *Pile) known(n *Node) digest.Digest {
	if len(n.parts) == 1 {
		if sum := n.top().whole.Load(); sum != nil {
			return *sum
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return n.sum
}

// hash reads the contents of all files among nodes and below them, several at once.
func (p *Pile) hash(ctx context.Context, nodes []*Node) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	visit := func(n *Node) (deeper bool, err error) {
		if err := ctx.Err(); err != nil {
			return false, context.Cause(ctx)
		}
		if p.known(n) != "" {
			return false, nil
		}
		if n.Stat().Kind() == sys.KindFile && n.top().sum.Load() == nil {
			group.Go(func() error {
				_, err := n.parts[0].of.content(ctx, n.top(), n.path)
				return err
			})
		}
		return true, nil
	}
	var err error
	for _, n := range nodes {
		if err = p.descend(n, visit); err != nil {
			break
		}
	}
	if waited := group.Wait(); waited != nil {
		return waited
	}
	return err
}

// picked is a file, or a directory without what is in it, that patterns have picked.
type picked struct {
	path  string // from where the pattern has its first wildcard
	node  *Node
	whole bool // with all below it: what a link led to
}

// level is a directory on the way to what is looked at.
type level struct {
	picked           picked
	taken            bool
	include, exclude patternmatcher.MatchInfo
}

// picker walks a pile and takes what fits.
type picker struct {
	pile             *Pile
	include, exclude *patternmatcher.PatternMatcher
	taken            []picked
	ways             []string // where what was taken lies, as the selector sees it
}

func newMatcher(what string, patterns []string) (*patternmatcher.PatternMatcher, error) {
	if len(patterns) == 0 {
		return nil, nil
	}
	m, err := patternmatcher.New(patterns)
	if err != nil {
		return nil, errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("invalid %s patterns %q: %v", what, patterns, err))
	}
	return m, nil
}

func (p *Pile) filtered(ctx context.Context, s Selector, clean string) (digest.Digest, error) {
	pick := &picker{pile: p}
	var err error
	if pick.include, err = newMatcher("include", s.Include); err != nil {
		return "", err
	}
	if pick.exclude, err = newMatcher("exclude", s.Exclude); err != nil {
		return "", err
	}
	matches, prefix, err := p.matches(s, clean)
	if err != nil {
		return "", err
	}
	for _, m := range matches {
		if err := pick.walk(m.node, m.path, "", nil); err != nil {
			return "", err
		}
	}
	for _, required := range s.Required {
		under := func(way string) bool { return strings.HasPrefix(path.Join("/", prefix, way), required) }
		if !slices.ContainsFunc(pick.ways, under) {
			return "", notFound(required)
		}
	}
	return p.digestOf(ctx, pick.taken)
}

func (p *Pile) digestOf(ctx context.Context, taken []picked) (digest.Digest, error) {
	var files []*Node
	for _, t := range taken {
		if t.whole || !t.node.isDir() {
			files = append(files, t.node)
		}
	}
	if err := p.hash(ctx, files); err != nil {
		return "", err
	}
	h := sha256.New()
	for _, t := range taken {
		record(h, t.path)
		if t.node.isDir() && !t.whole {
			record(h, string(t.node.top().header()))
			continue
		}
		one, err := p.sum(ctx, t.node)
		if err != nil {
			return "", err
		}
		record(h, one.String())
	}
	return digest.NewDigest(digest.SHA256, h), nil
}

// matches are the nodes that a selector's path means, and the part of the path that is no pattern.
func (p *Pile) matches(s Selector, clean string) (found []picked, prefix string, err error) {
	if !s.Wildcard {
		n, err := p.walk(clean, s.Follow)
		if err != nil || n == nil {
			if err == nil && clean != "/" {
				err = notFound(clean)
			}
			return nil, clean, err
		}
		return []picked{{node: n}}, clean, nil
	}
	prefix, pattern := SplitPattern(clean)
	base, err := p.walk(prefix, true)
	if err != nil || base == nil {
		if err == nil && p.root != nil {
			err = notFound(prefix)
		}
		return nil, prefix, err
	}
	found = []picked{{node: base}}
	for part := range strings.SplitSeq(pattern, "/") {
		var next []picked
		for _, at := range found {
			kids, err := p.Kids(at.node)
			if err != nil {
				return nil, prefix, err
			}
			for _, kid := range kids {
				ok, err := path.Match(part, kid.Name())
				if err != nil {
					return nil, prefix, errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("invalid pattern %q: %v", clean, err))
				}
				if ok {
					next = append(next, picked{path: path.Join(at.path, kid.Name()), node: kid})
				}
			}
		}
		found = next
	}
	for i, m := range found {
		if !s.Follow || m.node.Stat().Kind() != sys.KindSymlink {
			continue
		}
		to, err := p.walk(path.Join(prefix, m.path), true)
		if err != nil {
			return nil, prefix, err
		}
		if to == nil {
			return nil, prefix, notFound(path.Join("/", prefix, m.path))
		}
		found[i].node, found[i].whole = to, true
	}
	return found, prefix, nil
}

// walk takes n and what is below it, as far as the patterns want it. candidate is its path as the patterns see it.
func (pick *picker) walk(n *Node, way, candidate string, parents []*level) error {
	at := &level{picked: picked{path: way, node: n}}
	var above level
	if len(parents) > 0 {
		above = *parents[len(parents)-1]
	}
	wanted := true
	var err error
	if pick.include != nil {
		wanted, at.include, err = pick.include.MatchesUsingParentResults(candidate, above.include)
		if err != nil {
			return err
		}
	}
	if pick.exclude != nil {
		var not bool
		not, at.exclude, err = pick.exclude.MatchesUsingParentResults(candidate, above.exclude)
		if err != nil {
			return err
		}
		if not && pick.include == nil && !pick.exclude.Exclusions() {
			return nil
		}
		wanted = wanted && !not
	}
	if wanted {
		for _, l := range parents {
			if !l.taken {
				l.taken = true
				pick.take(l.picked)
			}
		}
		at.taken = true
		pick.take(at.picked)
	}
	kids, err := pick.pile.Kids(n)
	if err != nil {
		return err
	}
	parents = append(slices.Clip(parents), at)
	for _, kid := range kids {
		if err := pick.walk(kid, path.Join(way, kid.Name()), path.Join(candidate, kid.Name()), parents); err != nil {
			return err
		}
	}
	return nil
}

func (pick *picker) take(p picked) {
	pick.taken = append(pick.taken, p)
	pick.ways = append(pick.ways, p.path)
}

// SplitPattern cuts a clean path before its first part that is a pattern.
func SplitPattern(clean string) (prefix, pattern string) {
	parts := strings.Split(clean, "/")
	for i, part := range parts {
		if HasWildcard(part) {
			return path.Join("/", path.Join(parts[:i]...)), strings.Join(parts[i:], "/")
		}
	}
	return clean, ""
}

// HasWildcard tells whether a name is a pattern.
func HasWildcard(name string) bool {
	for i := 0; i < len(name); i++ {
		switch name[i] {
		case '\\':
			i++
		case '*', '?', '[':
			return true
		}
	}
	return false
}
