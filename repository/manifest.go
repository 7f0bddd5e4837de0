package repository

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cove-containers/cove/ref"
)

// Manifest tells of a manifest without its bytes.
type Manifest struct {
	Digest    digest.Digest
	MediaType string
	Size      int64
	Subject   digest.Digest // "" when it has none
}

// maxRecord bounds a record: the digests of a manifest of the largest size, once more.
const maxRecord = 64 << 20

// Manifest tells of the manifest a reference, tag or digest, leads to.
func (s *Store) Manifest(ctx context.Context, name, reference string) (Manifest, error) {
	d, err := s.resolve(ctx, name, reference)
	if err != nil {
		return Manifest{}, err
	}
	r, err := s.record(ctx, name, d)
	if err != nil {
		return Manifest{}, as(ManifestUnknown, err)
	}
	return Manifest{Digest: d, MediaType: r.MediaType, Size: r.Size, Subject: r.Subject}, nil
}

func (s *Store) resolve(ctx context.Context, name, reference string) (digest.Digest, error) {
	if err := CheckName(name); err != nil {
		return "", err
	}
	if strings.Contains(reference, ":") {
		d := digest.Digest(reference)
		return d, checkDigest(d)
	}
	if !ref.ValidTag(reference) {
		return "", &Error{ManifestInvalid, fmt.Errorf("%q is neither a tag nor a digest: %w", reference, errdefs.ErrInvalidArgument)}
	}
	body, err := s.read(ctx, tagKey(name, reference), 256)
	if err != nil {
		return "", as(ManifestUnknown, err)
	}
	d := digest.Digest(body)
	if err := checkDigest(d); err != nil {
		return "", fmt.Errorf("tag %s of %s: it holds %q: %w", reference, name, body, errdefs.ErrDataLoss)
	}
	return d, nil
}

func (s *Store) record(ctx context.Context, name string, d digest.Digest) (record, error) {
	var r record
	body, err := s.read(ctx, manifestKey(name, d), maxRecord)
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(body, &r); err != nil {
		return r, fmt.Errorf("read record of manifest %s: %w: %w", d, err, errdefs.ErrDataLoss)
	}
	return r, nil
}

// ReadManifest returns the bytes of a manifest of the repository, hashed once more.
func (s *Store) ReadManifest(ctx context.Context, name string, m Manifest) ([]byte, error) {
	// It was taken, so it is given, though the bound for new ones be lower now.
	body, err := s.read(ctx, blobKey(m.Digest), max(s.config.MaxManifest, m.Size))
	if err != nil {
		return nil, as(ManifestUnknown, err)
	}
	if got := m.Digest.Algorithm().FromBytes(body); got != m.Digest {
		return nil, fmt.Errorf("manifest %s of %s: the storage holds %s: %w", m.Digest, name, got, errdefs.ErrDataLoss)
	}
	return body, nil
}

// Push is a manifest on its way in. Digest may be "" when there are Tags.
type Push struct {
	MediaType string
	Digest    digest.Digest
	Tags      []string
	Body      []byte
	Sparse    bool // what it points to may come later; it counts as referenced when it does
}

// PutManifest stores a manifest whose content is there already, and points its tags to it.
func (s *Store) PutManifest(ctx context.Context, name string, p Push) (Manifest, error) {
	if err := s.checkPush(name, &p); err != nil {
		return Manifest{}, err
	}
	doc, err := parse(p.MediaType, p.Body)
	if err != nil {
		return Manifest{}, err
	}
	// Nothing is left half done because a client went away.
	ctx = context.WithoutCancel(ctx)
	var m Manifest
	for try := range 10 {
		if m, err = s.putManifest(ctx, name, p, doc); err != nil {
			if try > 0 {
				err = errors.Join(err, s.untag(ctx, name, p.Tags))
			}
			break
		}
		if len(p.Tags) == 0 {
			return m, nil
		}
		// A collection that found the manifest before its tag may have taken it.
		if err = s.settle(ctx, manifestKey(name, p.Digest)); err != nil {
			break
		}
		there := false
		if there, err = s.exists(ctx, manifestKey(name, p.Digest)); err != nil || there {
			break
		}
		err = fmt.Errorf("manifest %s: garbage collections keep taking it: %w", p.Digest, errdefs.ErrUnavailable)
	}
	return m, err
}

func (s *Store) untag(ctx context.Context, name string, tags []string) error {
	var keys []string
	for _, tag := range tags {
		keys = append(keys, tagKey(name, tag))
	}
	return s.storage.Delete(ctx, keys...)
}

func (s *Store) putManifest(ctx context.Context, name string, p Push, doc *document) (Manifest, error) {
	r := record{MediaType: doc.MediaType, Size: int64(len(p.Body))}
	if doc.Subject != nil {
		r.Subject = doc.Subject.Digest
	}
	if err := s.refer(ctx, name, doc, &r, p.Sparse); err != nil {
		return Manifest{}, err
	}
	if err := s.store(ctx, name, p, doc, r); err != nil {
		return Manifest{}, err
	}
	for _, tag := range p.Tags {
		if err := s.write(ctx, tagKey(name, tag), p.Digest.String()); err != nil {
			return Manifest{}, err
		}
	}
	return Manifest{Digest: p.Digest, MediaType: r.MediaType, Size: r.Size, Subject: r.Subject}, nil
}

func (s *Store) checkPush(name string, p *Push) error {
	if err := CheckName(name); err != nil {
		return err
	}
	for _, tag := range p.Tags {
		if !ref.ValidTag(tag) {
			return &Error{ManifestInvalid, fmt.Errorf("%q is not a tag: %w", tag, errdefs.ErrInvalidArgument)}
		}
	}
	if n := int64(len(p.Body)); n > s.config.MaxManifest {
		return &Error{SizeInvalid, fmt.Errorf("a manifest of %d bytes, more than %d: %w", n, s.config.MaxManifest, errdefs.ErrOutOfRange)}
	}
	if p.Digest == "" {
		p.Digest = digest.FromBytes(p.Body)
		return nil
	}
	if err := checkDigest(p.Digest); err != nil {
		return err
	}
	if got := p.Digest.Algorithm().FromBytes(p.Body); got != p.Digest {
		return mismatch(p.Digest, got)
	}
	return nil
}

// MaxManifest is the size of the largest manifest taken.
func (s *Store) MaxManifest() int64 { return s.config.MaxManifest }

// refer looks for everything a manifest points to and notes in r what of it is there. What must be there and is not
// is an error that names it; sparse takes it for there.
func (s *Store) refer(ctx context.Context, name string, doc *document, r *record, sparse bool) error {
	type target struct {
		ocispec.Descriptor
		manifest bool
	}
	var all []target
	seen := map[digest.Digest]bool{}
	add := func(list []ocispec.Descriptor, manifest bool) {
		for _, d := range list {
			if !seen[d.Digest] {
				all = append(all, target{d, manifest})
			}
			seen[d.Digest] = true
		}
	}
	add(doc.children(), false)
	add(doc.entries(), true)
	var mu sync.Mutex
	var missing []string
	err := parallel(ctx, all, func(ctx context.Context, t target) error {
		isManifest := t.manifest
		found, err := false, error(nil)
		if isManifest {
			found, err = s.exists(ctx, manifestKey(name, t.Digest))
		}
		if !found && err == nil {
			// The entries of some indexes, those of build caches, are plain blobs.
			isManifest = false
			found, err = s.has(ctx, name, t.Digest)
		}
		mu.Lock()
		defer mu.Unlock()
		switch {
		case err != nil:
			return err
		case found && isManifest, !found && sparse && t.manifest:
			r.Manifests = append(r.Manifests, t.Digest)
		case found, sparse:
			r.Blobs = append(r.Blobs, t.Digest)
		case !elsewhere(t.Descriptor):
			missing = append(missing, t.Digest.String())
		}
		return nil
	})
	if err == nil && len(missing) > 0 {
		slices.Sort(missing)
		err = absent(missing)
	}
	slices.Sort(r.Blobs)
	slices.Sort(r.Manifests)
	return err
}

func absent(missing []string) error {
	return &Error{ManifestBlobUnknown, fmt.Errorf("the manifest names content that the repository does not have: %s: %w", strings.Join(missing, ", "), errdefs.ErrInvalidArgument)}
}

// store writes the manifest, its record and what makes it found, and comes to terms with collections under way.
func (s *Store) store(ctx context.Context, name string, p Push, doc *document, r record) error {
	if room, err := s.room(ctx, name); err != nil {
		return err
	} else if known, err := s.exists(ctx, manifestKey(name, p.Digest)); err != nil {
		return err
	} else if room >= 0 && r.Size > room && !known {
		return overQuota()
	}
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	objects := []object{{blobKey(p.Digest), string(p.Body)}, {manifestKey(name, p.Digest), string(text)}}
	if r.Subject != "" {
		entry, err := json.Marshal(ocispec.Descriptor{
			MediaType: r.MediaType, Digest: p.Digest, Size: r.Size, ArtifactType: doc.artifactType(), Annotations: doc.Annotations,
		})
		if err != nil {
			return err
		}
		objects = append(objects, object{referrersPrefix(name, r.Subject) + p.Digest.String(), string(entry)})
	}
	objects = append(objects, object{catalogKey(name), ""})
	for i, o := range objects {
		// The record is always written: it is as old as the last push, not as the first.
		if err := s.ensure(ctx, o, i == 1); err != nil {
			return err
		}
	}
	keys := []string{}
	for _, o := range objects {
		keys = append(keys, o.key)
	}
	for _, d := range r.Blobs {
		keys = append(keys, linkKey(name, d), blobKey(d))
	}
	for _, d := range r.Manifests {
		keys = append(keys, manifestKey(name, d), blobKey(d))
	}
	if err := s.settle(ctx, keys...); err != nil {
		return err
	}
	if err := parallel(ctx, objects, func(ctx context.Context, o object) error { return s.ensure(ctx, o, false) }); err != nil {
		return err
	}
	return s.verify(ctx, name, p, r)
}

type object struct{ key, body string }

func (s *Store) ensure(ctx context.Context, o object, always bool) error {
	if !always {
		there, err := s.storage.Stat(ctx, o.key)
		if err == nil && there.Size == int64(len(o.body)) {
			return nil
		}
		if err != nil && !errdefs.IsNotFound(err) {
			return err
		}
	}
	return s.write(ctx, o.key, o.body)
}

// verify looks once more for what the manifest points to. A link that a collection took is put back; was the content
// itself taken, the manifest goes too.
func (s *Store) verify(ctx context.Context, name string, p Push, r record) error {
	err := parallel(ctx, r.Blobs, func(ctx context.Context, blob digest.Digest) error {
		there, err := s.has(ctx, name, blob)
		if err == nil && !there {
			err = s.link(ctx, name, blob, nil)
		}
		if errdefs.IsNotFound(err) {
			err = absent([]string{blob.String()})
		}
		if p.Sparse && CodeOf(err) == ManifestBlobUnknown {
			err = nil
		}
		return err
	})
	if err == nil && !p.Sparse {
		err = parallel(ctx, r.Manifests, func(ctx context.Context, child digest.Digest) error {
			there, err := s.exists(ctx, manifestKey(name, child))
			if err == nil && !there {
				err = absent([]string{child.String()})
			}
			return err
		})
	}
	if CodeOf(err) == ManifestBlobUnknown {
		err = errors.Join(err, s.forget(ctx, name, p.Digest, r))
	}
	return err
}

// DeleteManifest removes the manifest of a digest with its tags, or a tag alone.
func (s *Store) DeleteManifest(ctx context.Context, name, reference string) error {
	d, err := s.resolve(ctx, name, reference)
	if err != nil {
		return err
	}
	if reference != d.String() {
		return s.storage.Delete(ctx, tagKey(name, reference))
	}
	r, err := s.record(ctx, name, d)
	if err != nil && !errdefs.IsDataLoss(err) { // what cannot be read can go all the same
		return as(ManifestUnknown, err)
	}
	// The record is named as a collection names what it removes: who pushes the manifest, with another tag, at the same moment
	// has it afterwards, or not before.
	_, err = s.remove(context.WithoutCancel(ctx), strings.ToLower(rand.Text()), []string{manifestKey(name, d)},
		func(ctx context.Context, _ []string) (map[string]bool, error) { return nil, s.unlist(ctx, name, d, r) })
	return err
}

// forget removes a manifest from a repository, the record last: until then it can be done again.
func (s *Store) forget(ctx context.Context, name string, d digest.Digest, r record) error {
	if err := s.unlist(ctx, name, d, r); err != nil {
		return err
	}
	return s.storage.Delete(ctx, manifestKey(name, d))
}

// unlist takes away the tags of a manifest, and its entry among the referrers of another.
func (s *Store) unlist(ctx context.Context, name string, d digest.Digest, r record) error {
	tagged, err := s.tagsOf(ctx, name)
	if err != nil {
		return err
	}
	var keys []string
	for tag, to := range tagged {
		if to == d {
			keys = append(keys, tagKey(name, tag))
		}
	}
	if r.Subject != "" {
		keys = append(keys, referrersPrefix(name, r.Subject)+d.String())
	}
	return s.storage.Delete(ctx, keys...)
}
