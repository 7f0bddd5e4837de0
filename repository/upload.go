package repository

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
)

// ErrRange marks content that does not continue an upload where it stands; Status tells where that is.
var ErrRange = errors.New("the content does not continue the upload where it stands")

// Body is content on its way into an upload.
type Body struct {
	io.Reader
	// At is the offset the sender says this begins at, -1 when he says nothing.
	At int64
	// Size is how long the sender says it is, -1 when he says nothing.
	Size int64
	// Interrupt makes a Read that waits return: somebody else continues the upload.
	Interrupt func()
}

// progress is the state of an upload as it lies in the storage. Whoever reads it can continue the upload: the parts
// it names never change, and a part that it does not name is not of it.
type progress struct {
	Repository string    `json:"repository"`
	Began      time.Time `json:"began"`
	Offset     int64     `json:"offset"`
	Hash       []byte    `json:"hash,omitempty"` // the state of sha256 after Offset bytes
	Parts      []string  `json:"parts,omitempty"`

	id  string
	sum hash.Hash
}

func (p *progress) stateKey() string { return "uploads/" + p.id + "/state" }

// maxProgress bounds the state of an upload: enough for some ten thousand parts.
const maxProgress = 1 << 20

// Start begins an upload and returns its name.
func (s *Store) Start(ctx context.Context, name string) (id string, err error) {
	if err := CheckName(name); err != nil {
		return "", err
	}
	p := &progress{Repository: name, Began: s.now().UTC(), id: strings.ToLower(rand.Text()), sum: sha256.New()}
	return p.id, s.save(ctx, p)
}

func (s *Store) save(ctx context.Context, p *progress) error {
	var err error
	if p.Hash, err = p.sum.(encoding.BinaryMarshaler).MarshalBinary(); err != nil {
		return err
	}
	body, err := json.Marshal(p)
	if err != nil {
		return err
	}
	if len(body) > maxProgress {
		return &Error{BlobUploadInvalid, fmt.Errorf("upload %s: too many parts: %w", p.id, errdefs.ErrInvalidArgument)}
	}
	return s.write(ctx, p.stateKey(), string(body))
}

func (s *Store) load(ctx context.Context, name, id string) (*progress, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	unknown := &Error{BlobUploadUnknown, fmt.Errorf("no upload %q in %s: %w", id, name, errdefs.ErrNotFound)}
	if id == "" || strings.Trim(id, "abcdefghijklmnopqrstuvwxyz234567") != "" {
		return nil, unknown
	}
	p := &progress{id: id, sum: sha256.New()}
	body, err := s.read(ctx, p.stateKey(), maxProgress)
	if errdefs.IsNotFound(err) {
		return nil, unknown
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(body, p); err != nil {
		return nil, fmt.Errorf("read upload %s: %w", id, err)
	}
	if p.Repository != name {
		return nil, unknown
	}
	if err := p.sum.(encoding.BinaryUnmarshaler).UnmarshalBinary(p.Hash); err != nil {
		return nil, fmt.Errorf("read upload %s: %w", id, err)
	}
	return p, nil
}

// Status tells how many bytes of an upload are there.
func (s *Store) Status(ctx context.Context, name, id string) (int64, error) {
	p, err := s.load(ctx, name, id)
	if err != nil {
		return 0, err
	}
	return p.Offset, nil
}

// Append continues an upload and tells how far it is then. What came before b broke is kept. A second Append of the
// same upload ends the first: its sender is taken for one who lost his connection and is back.
func (s *Store) Append(ctx context.Context, name, id string, b Body) (int64, error) {
	done, err := s.sessions.take(ctx, id, b.Interrupt)
	if err != nil {
		return 0, err
	}
	defer done()
	// What was received stays received, though the sender be gone.
	ctx = context.WithoutCancel(ctx)
	p, err := s.load(ctx, name, id)
	if err != nil {
		return 0, err
	}
	err = s.append(ctx, p, b)
	return p.Offset, err
}

func (s *Store) append(ctx context.Context, p *progress, b Body) error {
	if b.At >= 0 && b.At != p.Offset {
		return &Error{BlobUploadInvalid, fmt.Errorf("upload %s is at byte %d, the content begins at %d: %w (%w)", p.id, p.Offset, b.At, ErrRange, errdefs.ErrOutOfRange)}
	}
	if b.Size == 0 {
		return nil
	}
	room, err := s.room(ctx, p.Repository)
	if err != nil {
		return err
	}
	in := &intake{r: b.Reader, sum: p.sum, size: b.Size, room: room - p.Offset, bounded: room >= 0, keep: true}
	for more := true; more; {
		if more, err = s.appendPart(ctx, p, in); err != nil {
			return errors.Join(in.refused, err)
		}
	}
	if in.broken != nil {
		return brokenOff(p.Offset, in.broken)
	}
	return nil
}

// appendPart stores what comes as one part, up to the size at which the upload's state is written, and tells whether
// there is more.
func (s *Store) appendPart(ctx context.Context, p *progress, in *intake) (more bool, err error) {
	before, err := p.sum.(encoding.BinaryMarshaler).MarshalBinary()
	if err != nil {
		return false, err
	}
	from := in.n
	in.pause, in.paused = from+s.checkpoint, false
	part := "uploads/" + p.id + "/" + strings.ToLower(rand.Text())
	err = s.storage.Put(ctx, part, in, -1)
	if err != nil || in.n == from {
		return false, errors.Join(err, p.sum.(encoding.BinaryUnmarshaler).UnmarshalBinary(before), s.storage.Delete(ctx, part))
	}
	// Should this fail the part stays: the state may have been written all the same.
	p.Offset += in.n - from
	p.Parts = append(p.Parts, part)
	return in.paused, s.save(ctx, p)
}

// checkpoint is how much of an upload a registry that is killed may lose. Content in several parts has to be copied together
// where the storage cannot do better, so it is no less than what most layers have.
const checkpoint = 128 << 20

// Finish appends b, which may be empty, and makes the upload the blob d. An upload whose content is not d is given up.
func (s *Store) Finish(ctx context.Context, name, id string, d digest.Digest, b Body) error {
	if err := check(name, d); err != nil {
		return err
	}
	done, err := s.sessions.take(ctx, id, b.Interrupt)
	if err != nil {
		return err
	}
	defer done()
	ctx = context.WithoutCancel(ctx)
	p, err := s.load(ctx, name, id)
	if err != nil {
		return err
	}
	if p.Offset == 0 && b.At <= 0 && b.Size >= 0 && b.Size <= directSize {
		if err = s.PutBlob(ctx, name, d, b); err == nil || CodeOf(err) == DigestInvalid {
			err = errors.Join(err, s.discard(ctx, p))
		}
		return err
	}
	if err := s.append(ctx, p, b); err != nil {
		return err
	}
	got, err := s.digestOf(ctx, p, d.Algorithm())
	if err != nil {
		return err
	}
	if got != d {
		return errors.Join(mismatch(d, got), s.discard(ctx, p))
	}
	if err := s.settleBlob(ctx, p, d); err != nil {
		return err
	}
	return s.discard(ctx, p)
}

// directSize is up to what size content goes to its place at once. Larger content goes through a part, so that
// what came of it before it broke off is not lost.
const directSize = 4 << 20

func (s *Store) settleBlob(ctx context.Context, p *progress, d digest.Digest) error {
	assemble := func() error {
		if len(p.Parts) == 0 {
			return s.write(ctx, blobKey(d), "")
		}
		return as(BlobUploadUnknown, s.storage.Assemble(ctx, p.Parts, blobKey(d)))
	}
	if err := s.admit(ctx, p.Repository, d); err != nil {
		return err
	}
	o, err := s.storage.Stat(ctx, blobKey(d))
	if errdefs.IsNotFound(err) || err == nil && o.Size != p.Offset {
		err = assemble()
	}
	if err != nil {
		return err
	}
	s.sizes.set(d, p.Offset)
	return s.link(ctx, p.Repository, d, assemble)
}

// digestOf is the digest of what was uploaded. The upload carries the state of a sha256; for another algorithm
// the parts are read once more.
func (s *Store) digestOf(ctx context.Context, p *progress, a digest.Algorithm) (digest.Digest, error) {
	if a == digest.SHA256 {
		return digest.NewDigest(a, p.sum), nil
	}
	sum := a.Hash()
	for _, part := range p.Parts {
		r, _, err := s.storage.Open(ctx, part, 0)
		if err != nil {
			return "", as(BlobUploadUnknown, err)
		}
		_, err = io.Copy(sum, r)
		r.Close()
		if err != nil {
			return "", fmt.Errorf("read upload %s: %w", p.id, err)
		}
	}
	return digest.NewDigest(a, sum), nil
}

// discard removes an upload, its state first: what is left by a crash has none.
func (s *Store) discard(ctx context.Context, p *progress) error {
	return s.storage.Delete(ctx, append([]string{p.stateKey()}, p.Parts...)...)
}

// Cancel gives an upload up.
func (s *Store) Cancel(ctx context.Context, name, id string) error {
	done, err := s.sessions.take(ctx, id, nil)
	if err != nil {
		return err
	}
	defer done()
	p, err := s.load(ctx, name, id)
	if err != nil {
		return err
	}
	return s.discard(ctx, p)
}

// PutBlob stores content whose digest is known from the start, whole or not at all.
func (s *Store) PutBlob(ctx context.Context, name string, d digest.Digest, b Body) error {
	if err := check(name, d); err != nil {
		return err
	}
	room, err := s.room(ctx, name)
	if err != nil {
		return err
	}
	in := &intake{r: b.Reader, sum: d.Algorithm().Hash(), want: d, size: b.Size, room: room, bounded: room >= 0}
	if in.bounded {
		// What the repository has already takes no more room.
		there, err := s.has(ctx, name, d)
		if err != nil {
			return err
		}
		in.bounded = !there
	}
	store := func() error {
		_, err := s.storage.Stat(ctx, blobKey(d))
		switch {
		case in.n > 0:
			err = &Error{BlobUploadUnknown, fmt.Errorf("a garbage collection took blob %s right after it came: %w", d, errdefs.ErrUnavailable)}
		case err == nil:
			_, err = io.Copy(io.Discard, in)
		case errdefs.IsNotFound(err):
			err = s.storage.Put(ctx, blobKey(d), in, b.Size)
		}
		if in.refused != nil {
			return in.refused
		}
		return err
	}
	if err := store(); err != nil {
		return err
	}
	s.sizes.set(d, in.n)
	return s.link(ctx, name, d, store)
}

// brokenOff is what became of a sender's content: his fault, or that of the way here.
func brokenOff(at int64, cause error) error {
	return &Error{BlobUploadInvalid, fmt.Errorf("the content broke off at byte %d: %w (%w)", at, cause, errdefs.ErrAborted)}
}

func mismatch(want, got digest.Digest) error {
	return &Error{DigestInvalid, fmt.Errorf("the content has digest %s, not %s: %w", got, want, errdefs.ErrInvalidArgument)}
}

// intake is what passes content on its way in: it hashes, counts, and refuses what is not as told.
type intake struct {
	r       io.Reader
	sum     hash.Hash
	want    digest.Digest // "" when that is known later
	size    int64         // -1: not told
	room    int64         // how much may come, when bounded
	bounded bool
	keep    bool  // what came before the sender broke off is content all the same
	pause   int64 // where the content ends for now, 0 for nowhere
	paused  bool  // it ended there

	n       int64
	broken  error // why the sender broke off
	refused error // why it was refused: then nothing of it is kept
}

func (i *intake) Read(p []byte) (int, error) {
	if i.refused != nil {
		return 0, i.refused
	}
	if i.pause > 0 {
		if i.n >= i.pause {
			i.paused = true
			return 0, io.EOF
		}
		p = p[:min(int64(len(p)), i.pause-i.n)]
	}
	n, err := i.r.Read(p)
	i.sum.Write(p[:n])
	i.n += int64(n)
	switch {
	case i.bounded && i.n > i.room:
		i.refused = overQuota()
	case i.size >= 0 && i.n > i.size, err == io.EOF && i.size >= 0 && i.n < i.size:
		i.refused = &Error{SizeInvalid, fmt.Errorf("the content is not %d bytes long: %w", i.size, errdefs.ErrInvalidArgument)}
	case err == io.EOF && i.want != "":
		if got := digest.NewDigest(i.want.Algorithm(), i.sum); got != i.want {
			i.refused = mismatch(i.want, got)
		}
	case err != nil && err != io.EOF && i.keep:
		i.broken, err = err, io.EOF
	case err != nil && err != io.EOF:
		i.refused = brokenOff(i.n, err)
	}
	if i.refused != nil {
		return 0, i.refused
	}
	return n, err
}
