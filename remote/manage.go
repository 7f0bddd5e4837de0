package remote

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cove-containers/cove/oci"
	"github.com/cove-containers/cove/ref"
)

// maxList is how many names are believed of a list that goes on and on.
const maxList = 100_000

// manifest is a request for the document that name points to: by its digest when it has one, else by its tag.
func (r request) manifest(name ref.Name) request {
	reference := name.Tag
	if name.Digest != "" {
		reference = name.Digest.String()
	}
	r.path = name.Path + "/manifests/" + reference
	return r
}

// StatManifest tells what name points to in the registry itself, past all mirrors, without fetching it. The digest is empty when
// the registry does not tell. A refusal is an *Error.
func (c *Client) StatManifest(ctx context.Context, name ref.Name, session *Session) (ocispec.Descriptor, error) {
	r, err := c.itself(name, session)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	r.scope = "repository:" + name.Path + ":pull"
	return c.statManifest(ctx, r, name)
}

// StatTarget is StatManifest for who is about to push to name: what it is authorized with serves the push too.
func (c *Client) StatTarget(ctx context.Context, name ref.Name, session *Session) (ocispec.Descriptor, error) {
	r, err := c.writing(name, session)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	return c.statManifest(ctx, r, name)
}

func (c *Client) statManifest(ctx context.Context, r request, name ref.Name) (ocispec.Descriptor, error) {
	r = r.manifest(name)
	r.method = http.MethodHead
	r.header = http.Header{"Accept": {strings.Join(oci.Accepted(), ", ")}}
	resp, err := c.ask(ctx, r)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	resp.Body.Close()
	media, _, _ := strings.Cut(resp.Header.Get("Content-Type"), ";")
	desc := ocispec.Descriptor{MediaType: strings.TrimSpace(media), Size: resp.ContentLength}
	if d := digest.Digest(resp.Header.Get("Docker-Content-Digest")); d.Validate() == nil {
		desc.Digest = d
	}
	return desc, nil
}

// StatBlob tells the size of a blob in the repository of name. A refusal is an *Error.
func (c *Client) StatBlob(ctx context.Context, name ref.Name, d digest.Digest, session *Session) (int64, error) {
	r, err := c.itself(name, session)
	if err != nil {
		return 0, err
	}
	r.method, r.path, r.scope = http.MethodHead, name.Path+"/blobs/"+d.String(), "repository:"+name.Path+":pull"
	resp, err := c.ask(ctx, r)
	if err != nil {
		return 0, err
	}
	resp.Body.Close()
	return resp.ContentLength, nil
}

// Ask makes a call of a registry's own, path lying below /v2/; the answer is a 2xx and to be closed. A refusal is an *Error.
func (c *Client) Ask(ctx context.Context, host, method, path string, session *Session) (*http.Response, error) {
	places, err := c.endpoints(host, pulling)
	if err != nil {
		return nil, err
	}
	path, query, _ := strings.Cut(path, "?")
	values, err := url.ParseQuery(query)
	if err != nil {
		return nil, fmt.Errorf("ask registry for %s: %w (%w)", path, err, errdefs.ErrInvalidArgument)
	}
	return c.ask(ctx, request{method: method, at: places[len(places)-1], path: path, query: values, session: session})
}

// PutManifest lets name point to a document, whose content must be there already; with a digest it has no other name.
func (c *Client) PutManifest(ctx context.Context, name ref.Name, mediaType string, body []byte, session *Session) error {
	r, err := c.writing(name, session)
	if err != nil {
		return err
	}
	r = r.manifest(name)
	r.method = http.MethodPut
	r.header = http.Header{"Content-Type": {mediaType}}
	r.body = &payload{from: bytes.NewReader(body), size: int64(len(body))}
	resp, err := c.ask(ctx, r)
	if err != nil {
		return err
	}
	resp.Body.Close()
	want := digest.FromBytes(body)
	if said := digest.Digest(resp.Header.Get("Docker-Content-Digest")); said.Validate() == nil && said.Algorithm() == want.Algorithm() && said != want {
		return errdefs.ErrFailedPrecondition.WithMessage(fmt.Sprintf("manifest %s: the registry took it for %s", want, said))
	}
	return nil
}

// DeleteManifest removes a tag, or with a digest a manifest with all its tags.
func (c *Client) DeleteManifest(ctx context.Context, name ref.Name, session *Session) error {
	r, err := c.writing(name, session)
	if err != nil {
		return err
	}
	r = r.manifest(name)
	r.method, r.scope = http.MethodDelete, "repository:"+name.Path+":pull,delete"
	return c.silently(ctx, r)
}

// DeleteBlob takes a blob out of the repository of name.
func (c *Client) DeleteBlob(ctx context.Context, name ref.Name, d digest.Digest, session *Session) error {
	r, err := c.writing(name, session)
	if err != nil {
		return err
	}
	r.method, r.path, r.scope = http.MethodDelete, name.Path+"/blobs/"+d.String(), "repository:"+name.Path+":pull,delete"
	return c.silently(ctx, r)
}

func (c *Client) silently(ctx context.Context, r request) error {
	resp, err := c.ask(ctx, r)
	if err == nil {
		resp.Body.Close()
	}
	return err
}

// Tags lists the tags of a repository, at most a hundred thousand.
func (c *Client) Tags(ctx context.Context, name ref.Name, session *Session) ([]string, error) {
	var tags []string
	err := c.everywhere(ctx, name, resolving, session, func(r request) error {
		tags = nil
		r.path = name.Path + "/tags/list"
		return c.pages(ctx, r, func(resp *http.Response) (int, error) {
			var page struct{ Tags []string }
			err := readPage(resp, &page)
			tags = append(tags, page.Tags...)
			return len(page.Tags), err
		})
	})
	return tags, err
}

// Catalog lists the repositories of a registry, at most a hundred thousand; host is as in names. Few registries let everybody see
// that.
func (c *Client) Catalog(ctx context.Context, host string, session *Session) ([]string, error) {
	places, err := c.endpoints(host, resolving)
	if err != nil {
		return nil, err
	}
	r := request{at: places[len(places)-1], path: "_catalog", scope: "registry:catalog:*", session: session}
	var all []string
	err = c.pages(ctx, r, func(resp *http.Response) (int, error) {
		var page struct{ Repositories []string }
		err := readPage(resp, &page)
		all = append(all, page.Repositories...)
		return len(page.Repositories), err
	})
	return all, err
}

// Referrers lists the manifests that speak of the one name points to by its digest; artifactType "" means all. Where the registry
// does not know the call, the tag is read under which clients keep the list themselves.
func (c *Client) Referrers(ctx context.Context, name ref.Name, artifactType string, session *Session) ([]ocispec.Descriptor, error) {
	r, err := c.itself(name, session)
	if err != nil {
		return nil, err
	}
	r.scope = "repository:" + name.Path + ":pull"
	r.path = name.Path + "/referrers/" + name.Digest.String()
	r.header = http.Header{"Accept": {ocispec.MediaTypeImageIndex}}
	if artifactType != "" {
		r.query = url.Values{"artifactType": {artifactType}}
	}
	var all []ocispec.Descriptor
	err = c.pages(ctx, r, func(resp *http.Response) (int, error) {
		var page ocispec.Index
		err := readPage(resp, &page)
		all = append(all, page.Manifests...)
		return len(page.Manifests), err
	})
	if isRefusal(err, http.StatusNotFound) {
		all, err = c.taggedReferrers(ctx, name, session)
	}
	var out []ocispec.Descriptor
	for _, d := range all {
		if artifactType == "" || d.ArtifactType == artifactType {
			out = append(out, d)
		}
	}
	return out, err
}

func (c *Client) taggedReferrers(ctx context.Context, name ref.Name, session *Session) ([]ocispec.Descriptor, error) {
	tagged, err := name.WithTag(strings.ReplaceAll(name.Digest.String(), ":", "-"))
	if err != nil {
		return nil, err
	}
	tagged.Digest = ""
	desc, body, err := c.Manifest(ctx, tagged, session)
	if isRefusal(err, http.StatusNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	doc, err := oci.Parse(desc.MediaType, body)
	if err != nil || doc.Index == nil {
		return nil, err
	}
	return doc.Index.Manifests, nil
}

// pages asks page by page until there is no next one. read tells how many entries a page had.
func (c *Client) pages(ctx context.Context, r request, read func(*http.Response) (int, error)) error {
	for total := 0; total < maxList; {
		resp, err := c.ask(ctx, r)
		if err != nil {
			return err
		}
		n, err := read(resp)
		if err != nil {
			return err
		}
		next := nextPage(resp)
		if next == nil || n == 0 {
			return nil
		}
		r.query = next
		total += n
	}
	return nil
}

// readPage reads one page of a list and closes it.
func readPage(resp *http.Response, page any) error {
	defer resp.Body.Close()
	if err := json.NewDecoder(io.LimitReader(resp.Body, 8<<20)).Decode(page); err != nil {
		return fmt.Errorf("read list of registry: %w", err)
	}
	return nil
}

// nextPage is the query of the page after this one.
func nextPage(resp *http.Response) url.Values {
	link := resp.Header.Get("Link")
	from, to := strings.IndexByte(link, '<'), strings.IndexByte(link, '>')
	if from < 0 || to < from || !strings.Contains(link[to:], `rel="next"`) {
		return nil
	}
	u, err := url.Parse(link[from+1 : to])
	if err != nil {
		return nil
	}
	return u.Query()
}
