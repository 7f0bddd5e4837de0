package remote

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cove-containers/cove/ref"
)

// pieceSize is how large the pieces are in which a blob goes out when one piece turned out to be too much.
const pieceSize = 16 << 20

// uploadTries is how often an upload is taken up again that gets nowhere: over half a minute, in which a registry may start anew.
const uploadTries = 8

// Upload is a blob to be put into a repository.
type Upload struct {
	Desc ocispec.Descriptor
	// Content is read as often as it takes; nil when it is not here, so that the registry must have it.
	Content io.ReaderAt
	// From are repositories of the same registry that should have it, the likeliest first.
	From []string
	// Resume is where an earlier upload of it went, as Began told; "" for none.
	Resume string
	// Began, when set, hears where the upload goes, whenever that changes.
	Began func(location string)
	// Sent, when set, hears how much of it has gone out.
	Sent func(n int64)
}

// Outcome tells how a blob came into a repository.
type Outcome struct {
	// Existed: it was there. MountedFrom: the registry took it from this repository. Else it was sent.
	Existed     bool
	MountedFrom string
}

// PutBlob has a blob in the repository of name: it sends it only when the registry neither has it nor can take it from another
// repository, and continues where an earlier upload broke off where the registry can. A blob that is nowhere is
// errdefs.ErrNotFound, a refusal an *Error.
func (c *Client) PutBlob(ctx context.Context, name ref.Name, u Upload, session *Session) (Outcome, error) {
	r, err := c.writing(name, session)
	if err != nil {
		return Outcome{}, err
	}
	has, err := c.hasBlob(ctx, r, u.Desc)
	if has || err != nil {
		return Outcome{Existed: has}, err
	}
	at, from := c.mount(ctx, r, u)
	if from != "" {
		return Outcome{MountedFrom: from}, nil
	}
	if u.Content == nil {
		return Outcome{}, fmt.Errorf("blob %s is neither here nor in %s: %w", u.Desc.Digest, name.FamiliarRepository(), errdefs.ErrNotFound)
	}
	return Outcome{}, c.newUploader(r, u, at).run(ctx)
}

func (c *Client) hasBlob(ctx context.Context, r request, desc ocispec.Descriptor) (bool, error) {
	r.method, r.path = http.MethodHead, r.path+"/blobs/"+desc.Digest.String()
	resp, err := c.ask(ctx, r)
	if isRefusal(err, http.StatusNotFound, http.StatusMethodNotAllowed) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	resp.Body.Close()
	return true, nil
}

// mount asks the registry to take the blob from another of its repositories. It returns the name of that, or else where the
// registry began an upload instead. That it cannot be done is no error, whatever the reason.
func (c *Client) mount(ctx context.Context, r request, u Upload) (at *url.URL, from string) {
	r.method, r.path = http.MethodPost, r.path+"/blobs/uploads/"
	scope := r.scope
	for _, from := range u.From {
		r.scope = scope + " repository:" + from + ":pull"
		r.query = url.Values{"mount": {u.Desc.Digest.String()}, "from": {from}}
		resp, err := c.once(ctx, r)
		if err != nil {
			continue
		}
		resp.Body.Close()
		if resp.StatusCode == http.StatusCreated {
			c.cancel(ctx, r, at)
			return nil, from
		}
		if next, err := c.location(resp, r); err == nil {
			c.cancel(ctx, r, at)
			at = next
		}
	}
	return at, ""
}

// cancel gives up an upload that was begun and is not wanted. A registry that keeps it nevertheless forgets it in time.
func (c *Client) cancel(ctx context.Context, r request, at *url.URL) {
	if at == nil {
		return
	}
	r.method, r.to = http.MethodDelete, at
	if resp, err := c.once(ctx, r); err == nil {
		resp.Body.Close()
	}
}

// location is where an answer says that an upload goes on.
func (c *Client) location(resp *http.Response, r request) (*url.URL, error) {
	asked := resp.Request.URL
	given := resp.Header.Get("Location")
	to, err := asked.Parse(given)
	if err != nil || given == "" || to.Host == "" || to.Scheme != "http" && to.Scheme != "https" {
		return nil, fmt.Errorf("registry %s does not say where to upload: Location %q", r.at.host, given)
	}
	if to.Scheme == "http" && asked.Scheme == "https" {
		switch {
		case to.Host == asked.Host: // it stands behind something that speaks TLS for it, and does not know
			to.Scheme = "https"
		case !c.insecure(to.Host):
			return nil, fmt.Errorf("registry %s speaks TLS but wants uploads in plain HTTP at %s", r.at.host, to.Host)
		}
	}
	return to, nil
}

// elsewhere tells whether r goes to another server than the registry: no secrets there.
func (r request) elsewhere() bool {
	if r.to == nil {
		return false
	}
	scheme := cmp.Or(r.at.scheme, "https")
	if r.session.speaksPlain(r.at.host) {
		scheme = "http"
	}
	return r.to.Scheme != scheme || address(r.to) != address(&url.URL{Scheme: scheme, Host: r.at.host})
}

// address is where a URL leads, with the port that it may leave out.
func address(u *url.URL) string {
	port := u.Port()
	switch {
	case port != "":
	case u.Scheme == "http":
		port = "80"
	default:
		port = "443"
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// uploader carries one blob over, whatever it takes.
type uploader struct {
	client *Client
	base   request
	Upload
	at     *url.URL // nil: not begun
	offset int64    // what the registry has
	least  int64    // the smallest piece it wants
	// pieces: in several pieces, not at once. noPieces and noWhole: the registry has refused.
	pieces, noPieces, noWhole bool
}

func (c *Client) newUploader(r request, u Upload, at *url.URL) *uploader {
	return &uploader{client: c, base: r, Upload: u, at: at}
}

func (u *uploader) run(ctx context.Context) error {
	if u.Resume != "" {
		u.resume(ctx)
	}
	p := patience{limit: uploadTries}
	for most := u.offset; ; {
		err := u.attempt(ctx)
		if err == nil || ctx.Err() != nil || u.at == nil && !broken(err) || !u.survives(err) {
			return err
		}
		// Only further than ever is progress: a registry that forgets uploads takes the same pieces again and again.
		if u.offset > most {
			most, p = u.offset, patience{limit: uploadTries}
		}
		if !p.wait(ctx, err) {
			return err
		}
		if done, _ := u.client.hasBlob(ctx, u.base, u.Desc); done { // only the answer was lost
			return nil
		}
		u.find(ctx)
	}
}

// resume takes up an earlier upload. One that left nothing to take up shows that the way is bad: then in pieces, each of which stays.
func (u *uploader) resume(ctx context.Context) {
	earlier, err := url.Parse(u.Resume)
	if err != nil || earlier.Host == "" {
		return
	}
	begun := u.at
	u.at = earlier
	u.find(ctx)
	u.pieces = true
	if u.at == nil {
		u.at = begun
	}
}

// attempt sends what is missing and ends the upload.
func (u *uploader) attempt(ctx context.Context) error {
	if u.at == nil {
		if err := u.begin(ctx); err != nil {
			return err
		}
	} else {
		u.tell()
	}
	if !u.pieces && u.offset == 0 {
		return u.finish(ctx, u.piece(u.Desc.Size))
	}
	for u.offset < u.Desc.Size {
		if err := u.sendPiece(ctx); err != nil {
			return err
		}
	}
	return u.finish(ctx, u.piece(0))
}

func (u *uploader) begin(ctx context.Context) error {
	r := u.base
	r.method, r.path = http.MethodPost, r.path+"/blobs/uploads/"
	resp, err := u.client.ask(ctx, r)
	if err != nil {
		return err
	}
	resp.Body.Close()
	u.offset = 0
	u.least, _ = strconv.ParseInt(resp.Header.Get("OCI-Chunk-Min-Length"), 10, 64)
	if u.at, err = u.client.location(resp, r); err != nil {
		return err
	}
	u.tell()
	return nil
}

func (u *uploader) tell() {
	if u.Began != nil {
		u.Began(u.at.String())
	}
}

// piece is the next n bytes as a body.
func (u *uploader) piece(n int64) *payload {
	offset := u.offset
	p := &payload{from: u.Content, offset: offset, size: n}
	if u.Sent != nil {
		p.sent = func(n int64) { u.Sent(offset + n) }
	}
	return p
}

func (u *uploader) sendPiece(ctx context.Context) error {
	n := min(u.Desc.Size-u.offset, max(pieceSize, u.least))
	r := u.base
	r.method, r.to, r.body = http.MethodPatch, u.at, u.piece(n)
	r.header = http.Header{
		"Content-Type":  {"application/octet-stream"},
		"Content-Range": {fmt.Sprintf("%d-%d", u.offset, u.offset+n-1)},
	}
	resp, err := u.client.once(ctx, r)
	if err != nil {
		return err
	}
	resp.Body.Close()
	next, err := u.client.location(resp, r)
	if err != nil {
		return err
	}
	u.at = next
	have, ok := uploaded(resp)
	if !ok {
		have = u.offset + n
	}
	if have <= u.offset || have > u.offset+n {
		return fmt.Errorf("upload of %s: the registry says it has %d bytes after being sent %d to %d: %w", u.Desc.Digest, have, u.offset, u.offset+n, errdefs.ErrUnknown)
	}
	u.offset = have
	u.tell()
	return nil
}

// finish sends the last of the blob, or all of it, and has the registry check it.
func (u *uploader) finish(ctx context.Context, body *payload) error {
	r := u.base
	to := *u.at
	if to.RawQuery != "" {
		to.RawQuery += "&"
	}
	to.RawQuery += "digest=" + url.QueryEscape(u.Desc.Digest.String())
	r.method, r.to, r.body = http.MethodPut, &to, body
	r.header = http.Header{"Content-Type": {"application/octet-stream"}}
	resp, err := u.client.once(ctx, r)
	if err != nil {
		return err
	}
	resp.Body.Close()
	if said := resp.Header.Get("Docker-Content-Digest"); said != "" && said != u.Desc.Digest.String() {
		return errdefs.ErrFailedPrecondition.WithMessage(fmt.Sprintf("upload of %s: the registry took it for %s", u.Desc.Digest, said))
	}
	return nil
}

// broken tells whether the way to the registry broke, without an answer.
func broken(err error) bool {
	var way *url.Error
	var refused *Error
	return !errors.As(err, &refused) && (passing(err) || errors.Is(err, errStalled) || errors.As(err, &way))
}

// survives tells whether the upload can go on after err, perhaps in another way.
func (u *uploader) survives(err error) bool {
	var refused *Error
	switch {
	case errors.Is(err, errShort):
		return false
	case errors.As(err, &refused) && passing(err):
		return true
	case errors.As(err, &refused):
		return u.adapt(refused)
	}
	if broken(err) {
		u.pieces = u.Desc.Size > pieceSize && !u.noPieces
		return true
	}
	return false
}

// adapt finds another way to send after a refusal that more of the same will not change.
func (u *uploader) adapt(refused *Error) bool {
	switch refused.Status {
	case http.StatusNotFound, http.StatusRequestedRangeNotSatisfiable:
		return true
	case http.StatusUnauthorized, http.StatusForbidden:
		return false
	case http.StatusRequestEntityTooLarge:
		if u.pieces {
			return false
		}
		u.noWhole = true
		u.pieces = !u.noPieces && u.Desc.Size > pieceSize
		return u.pieces
	}
	if u.pieces {
		u.pieces, u.noPieces = false, true
		return !u.noWhole
	}
	return false
}

// find asks how far the registry has got. When that is not to be had, the upload begins anew.
func (u *uploader) find(ctx context.Context) {
	at := u.at
	u.at, u.offset = nil, 0
	if at == nil || u.noPieces {
		return
	}
	r := u.base
	r.to = at
	p := patience{limit: uploadTries}
	resp, err := u.client.once(ctx, r)
	for ; err != nil; resp, err = u.client.once(ctx, r) {
		if !broken(err) && !passing(err) || !p.wait(ctx, err) {
			return
		}
	}
	resp.Body.Close()
	have, ok := uploaded(resp)
	if !ok || have > u.Desc.Size {
		return
	}
	if resp.Header.Get("Location") != "" {
		if next, err := u.client.location(resp, r); err == nil {
			at = next
		}
	}
	u.at, u.offset = at, have
	u.pieces = u.pieces || have > 0
}

// uploaded reads how many bytes an upload has: "0-0" stands for none, or for one that is sent again.
func uploaded(resp *http.Response) (int64, bool) {
	first, last, ok := strings.Cut(strings.TrimPrefix(resp.Header.Get("Range"), "bytes="), "-")
	n, err := strconv.ParseInt(last, 10, 64)
	if !ok || first != "0" || err != nil || n < 0 {
		return 0, false
	}
	if n == 0 {
		return 0, true
	}
	return n + 1, true
}
