// Package push brings an image into a repository of a registry: only what is not there yet, several blobs at once, each shared
// between all who push it there at the same time. It remembers in the database
//
//	image-sources  blob or document → the repositories it came from or went to, so that a registry can be asked to take it from there
//	image-uploads  repository and blob → where an unfinished upload goes, so that the next one continues it
package push

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/cove-containers/cove/blob"
	"github.com/cove-containers/cove/image/progress"
	"github.com/cove-containers/cove/oci"
	"github.com/cove-containers/cove/ref"
	"github.com/cove-containers/cove/remote"
	"github.com/cove-containers/cove/state"
)

// Uploads is how many blobs go out at once, over all pushes, unless told otherwise.
const Uploads = 8

const (
	// remembered are uploads from this size on: smaller ones are as quickly done anew.
	remembered  = 1 << 20
	reportEvery = 100 * time.Millisecond
)

// ErrMissing tells that something of an image is neither here nor in the registry. Nothing has been sent then.
var ErrMissing = fmt.Errorf("content is missing: %w", errdefs.ErrNotFound)

// Content is what is to be in the repository.
type Content struct {
	// Blobs are the configs and layers, each once.
	Blobs []ocispec.Descriptor
	// Documents are the manifests and indexes, what others point to first. The last is what the name will point to.
	Documents []ocispec.Descriptor
}

// target is the document that gets the name.
func (c Content) target() ocispec.Descriptor { return c.Documents[len(c.Documents)-1] }

// Pusher pushes. It is safe for concurrent use.
type Pusher struct {
	db      *state.DB
	blobs   *blob.Store
	remote  *remote.Client
	jobs    *progress.Jobs
	slots   *progress.Slots
	sources *state.Table[[]string]
	uploads *state.Table[unfinished]
}

// unfinished is an upload that has begun and not ended.
type unfinished struct {
	Location string
	Began    time.Time
}

// Open opens what is remembered of pushes.
func Open(db *state.DB, blobs *blob.Store, reg *remote.Client, jobs *progress.Jobs) (*Pusher, error) {
	p := &Pusher{db: db, blobs: blobs, remote: reg, jobs: jobs, slots: new(progress.Slots)}
	p.Limit(Uploads)
	var err error
	if p.sources, err = state.NewTable[[]string](db, "image-sources"); err != nil {
		return nil, err
	}
	p.uploads, err = state.NewTable[unfinished](db, "image-uploads")
	return p, err
}

// Limit sets how many blobs go out at once, of pushes that begin from then on; 0 leaves it as it is.
func (p *Pusher) Limit(uploads int) { p.slots.Limit(uploads) }

// Through is the same pusher with another client of registries.
func (p *Pusher) Through(reg *remote.Client) *Pusher {
	other := *p
	other.remote = reg
	return &other
}

// one is a push under way.
type one struct {
	*Pusher
	name    ref.Name
	cred    remote.Credentials
	session *remote.Session
	content Content
	out     *progress.Reporter
	// there are the documents the repository has already.
	there map[digest.Digest]bool
}

// Push has content in the repository of name and lets name point to it. It tells out how each layer goes on.
func (p *Pusher) Push(ctx context.Context, name ref.Name, c Content, cred remote.Credentials, out *progress.Reporter) error {
	for again := false; ; again = true {
		push := &one{Pusher: p, name: name, cred: cred, session: remote.NewSession(cred), content: c, out: out, there: map[digest.Digest]bool{}}
		err := push.run(ctx)
		var refused *remote.Error
		if again || !errors.As(err, &refused) || refused.Code != "MANIFEST_BLOB_UNKNOWN" {
			return err
		}
		// What was there a moment ago has been cleared away there: have it all once more.
	}
}

func (p *one) run(ctx context.Context) error {
	// The first question stands alone: how the registry speaks and what it wants to see is known to all others then.
	tagged, err := p.stat(ctx, p.name)
	if err != nil {
		return err
	}
	target := p.content.target()
	if err := p.checkDocuments(ctx, tagged == target.Digest); err != nil {
		return err
	}
	if err := p.sendBlobs(ctx); err != nil {
		return err
	}
	if err := p.sendDocuments(ctx); err != nil {
		return err
	}
	return p.remember()
}

// stat is the digest that name points to in the registry, "" when it points to nothing or nobody tells.
func (p *one) stat(ctx context.Context, name ref.Name) (digest.Digest, error) {
	desc, err := p.remote.StatTarget(ctx, name, p.session)
	var refused *remote.Error
	if errors.As(err, &refused) && (refused.Status == http.StatusNotFound || refused.Status == http.StatusMethodNotAllowed) {
		return "", nil
	}
	return desc.Digest, err
}

// checkDocuments finds out which documents the repository has. What is not here either ends the push.
func (p *one) checkDocuments(ctx context.Context, tagged bool) error {
	documents := p.content.Documents
	found := make([]bool, len(documents))
	found[len(documents)-1] = tagged
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(Uploads)
	for i, d := range documents[:len(documents)-1] {
		group.Go(func() error {
			got, err := p.stat(ctx, p.name.WithDigest(d.Digest))
			found[i] = got == d.Digest
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for i, d := range documents {
		if p.there[d.Digest] = found[i]; !found[i] && !p.blobs.Has(d.Digest) {
			return fmt.Errorf("manifest %s: %w", d.Digest, ErrMissing)
		}
	}
	return nil
}

// sendBlobs has all blobs in the repository. Those that are not here come first: if the registry cannot provide them there is no
// point in the others.
func (p *one) sendBlobs(ctx context.Context) error {
	var absent, here []ocispec.Descriptor
	for _, d := range p.content.Blobs {
		if n, err := p.blobs.Stat(d.Digest); err == nil && n == d.Size {
			here = append(here, d)
		} else {
			absent = append(absent, d)
		}
	}
	if err := p.all(ctx, absent, p.sendBlob); err != nil {
		return err
	}
	for _, d := range here {
		if shown(d) {
			p.out.Say(progress.ShortID(d.Digest), "Waiting")
		}
	}
	return p.all(ctx, here, p.sendBlob)
}

func (p *one) all(ctx context.Context, list []ocispec.Descriptor, do func(context.Context, ocispec.Descriptor) error) error {
	group, gctx := errgroup.WithContext(ctx)
	for _, d := range list {
		group.Go(func() error { return do(gctx, d) })
	}
	err := group.Wait()
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// shown tells whether clients want to hear of it: not of the small documents.
func shown(d ocispec.Descriptor) bool { return !oci.IsConfig(d.MediaType) }

// sendBlob has one blob in the repository, together with whoever wants the same.
func (p *one) sendBlob(ctx context.Context, d ocispec.Descriptor) error {
	watch := func(s progress.State) {
		if shown(d) && s.Stage != progress.Waiting {
			p.out.Layer(d.Digest, s, false)
		}
	}
	user := sha256.Sum256(fmt.Appendf(nil, "%q", p.cred))
	key := fmt.Sprintf("push %s@%s %x", p.name.Repository(), d.Digest, user[:8])
	return p.jobs.Do(ctx, key, watch, func(ctx context.Context, report func(progress.State)) error {
		done, err := p.slots.Take(ctx)
		if err != nil {
			return err
		}
		defer done()
		return p.upload(ctx, d, report)
	})
}

func (p *one) upload(ctx context.Context, d ocispec.Descriptor, report func(progress.State)) error {
	u := remote.Upload{Desc: d}
	f, size, err := p.blobs.Open(d.Digest)
	switch {
	case err == nil && size == d.Size:
		u.Content = f
	case err != nil && !errdefs.IsNotFound(err):
		return err
	}
	if f != nil {
		defer f.Close()
	}
	if u.From, err = p.mountable(d.Digest); err != nil {
		return err
	}
	key := p.name.Repository() + "@" + d.Digest.String()
	if d.Size >= remembered {
		left, err := p.uploads.Get(key)
		if err != nil && !errdefs.IsNotFound(err) {
			return err
		}
		u.Resume = left.Location
		// At once, for half of it may be there in the moment that writing later would take; without the note the next push
		// begins anew, which is no reason for this one to fail.
		u.Began = func(location string) { _ = p.uploads.Put(key, unfinished{location, time.Now()}) }
	}
	var last time.Time
	u.Sent = func(n int64) {
		if now := time.Now(); now.Sub(last) > reportEvery {
			last = now
			report(progress.State{Stage: progress.Pushing, Current: n, Total: d.Size})
		}
	}
	outcome, err := p.remote.PutBlob(ctx, p.name, u, p.session)
	if err != nil {
		if u.Content == nil && errdefs.IsNotFound(err) {
			return fmt.Errorf("blob %s: %w", d.Digest, ErrMissing)
		}
		return err
	}
	if d.Size >= remembered {
		p.uploads.DeleteLater(key)
	}
	switch {
	case outcome.Existed:
		report(progress.State{Stage: progress.Existed})
	case outcome.MountedFrom != "":
		report(progress.State{Stage: progress.Mounted, From: outcome.MountedFrom})
	default:
		report(progress.State{Stage: progress.Pushed})
	}
	return nil
}

// sendDocuments sends what the repository lacks, the named one last.
func (p *one) sendDocuments(ctx context.Context) error {
	documents := p.content.Documents
	for i, d := range documents {
		if p.there[d.Digest] {
			continue
		}
		body, err := p.blobs.Read(d.Digest, oci.MaxDocument)
		if err != nil {
			return err
		}
		name := p.name.WithDigest(d.Digest)
		if i == len(documents)-1 {
			name = p.name
		}
		if err := p.remote.PutManifest(ctx, name, d.MediaType, body, p.session); err != nil {
			return err
		}
	}
	return nil
}
