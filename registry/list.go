package registry

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cove-containers/cove/repository"
)

// pageLimit is how much a list holds at most; the rest is on the next page.
const pageLimit = 10_000

// page reads how much of a list is wanted, and what follows what.
func (c *call) page() (n int, last string, err error) {
	query := c.r.URL.Query()
	n = pageLimit
	if text := query.Get("n"); text != "" {
		asked, err := number(text)
		if err != nil {
			return 0, "", badRequest("PAGINATION_NUMBER_INVALID", "n is not a number")
		}
		n = int(min(asked, pageLimit))
	}
	return n, query.Get("last"), nil
}

// next says where the next page is.
func (c *call) next(query url.Values) {
	c.w.Header().Set("Link", "<"+c.r.URL.EscapedPath()+"?"+query.Encode()+`>; rel="next"`)
}

func (c *call) json(contentType string, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	c.w.Header().Set("Content-Type", contentType)
	c.w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	if c.r.Method != http.MethodHead {
		c.w.Write(body)
	}
	return nil
}

func (c *call) tags() error {
	n, last, err := c.page()
	if err != nil {
		return err
	}
	tags, more, err := c.content.Tags(c.r.Context(), c.name, last, n)
	if err != nil {
		return err
	}
	if more && n > 0 {
		c.next(url.Values{"n": {strconv.Itoa(n)}, "last": {tags[len(tags)-1]}})
	}
	return c.json("application/json", struct {
		Name string   `json:"name"`
		Tags []string `json:"tags"`
	}{c.name, append([]string{}, tags...)})
}

func (c *call) catalog() error {
	n, last, err := c.page()
	if err != nil {
		return err
	}
	names, more, err := c.store.Names(c.r.Context(), last, n)
	if err != nil {
		return err
	}
	if more && n > 0 {
		c.next(url.Values{"n": {strconv.Itoa(n)}, "last": {names[len(names)-1]}})
	}
	return c.json("application/json", map[string][]string{"repositories": append([]string{}, names...)})
}

// referrersLimit keeps a list of referrers below what clients take of a manifest.
const referrersLimit = 3 << 20

func (c *call) referrers() error {
	query := c.r.URL.Query()
	kind := query.Get("artifactType")
	list, more, err := c.content.Referrers(c.r.Context(), c.name, digest.Digest(c.arg), kind, query.Get("last"), referrersLimit)
	if err != nil {
		return err
	}
	if kind != "" {
		c.w.Header().Set("OCI-Filters-Applied", "artifactType")
	}
	if more {
		following := url.Values{"last": {list[len(list)-1].Digest.String()}}
		if kind != "" {
			following.Set("artifactType", kind)
		}
		c.next(following)
	}
	index := ocispec.Index{MediaType: ocispec.MediaTypeImageIndex, Manifests: list}
	index.SchemaVersion = 2
	return c.json(ocispec.MediaTypeImageIndex, index)
}

// collect answers POST /v2/_cove/gc: it collects garbage and tells what went.
func (c *call) collect() error {
	var options repository.Collection
	query := c.r.URL.Query()
	options.Untagged = query.Get("untagged") == "1" || query.Get("untagged") == "true"
	options.DryRun = query.Get("dry-run") == "1" || query.Get("dry-run") == "true"
	result, err := c.Collect(c.r.Context(), options)
	if err != nil {
		return err
	}
	return c.json("application/json", result)
}

// usage answers GET /v2/_cove/du.
func (c *call) usage() error {
	u, err := c.store.Usage(c.r.Context())
	if err != nil {
		return err
	}
	return c.json("application/json", u)
}
