package remote

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/cove-containers/cove/ref"
)

// hubIndex is where searches of docker.io go: it is another machine than the registry.
const hubIndex = "index.docker.io"

// maxFound bounds the answer to a search, which has at most a hundred entries.
const maxFound = 4 << 20

// Found is a repository that a search came up with.
type Found struct {
	Name        string `json:"name"`
	Description string `json:"description"`
	Stars       int    `json:"star_count"`
	Official    bool   `json:"is_official"`
}

// Search looks for repositories of a registry by a term, at most limit of them. A registry without a search of its own is asked for
// the list of its repositories, and those whose name has the term are found, by the names they are pulled by. A registry
// that has neither is errdefs.ErrNotImplemented.
func (c *Client) Search(ctx context.Context, host, term string, limit int, session *Session) ([]Found, error) {
	r := request{
		at: endpoint{host: host, root: "/v1"}, path: "search", query: url.Values{"q": {term}, "n": {strconv.Itoa(limit)}}, session: session,
	}
	if host == ref.DefaultHost {
		r.at.host = hubIndex
	}
	found, err := c.found(ctx, r)
	if host == ref.DefaultHost || err == nil || !hasNoSearch(err) {
		return found[:min(len(found), limit)], err
	}
	names, err := c.Catalog(ctx, host, session)
	switch {
	case isRefusal(err, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotImplemented):
		return nil, fmt.Errorf("the registry %s has no search and does not list its repositories: %w (%w)", host, err, errdefs.ErrNotImplemented)
	case err != nil:
		return nil, fmt.Errorf("the registry %s has no search; list its repositories: %w", host, err)
	}
	found = nil
	for _, name := range named(names, term) {
		found = append(found, Found{Name: host + "/" + name})
	}
	return found[:min(len(found), limit)], nil
}

// errNoSearch is an answer that is none of a search.
var errNoSearch = errors.New("the answer is no list of repositories")

// hasNoSearch tells whether a failed search says that there is none: a page for people, or a refusal to know the call.
func hasNoSearch(err error) bool {
	var refused *Error
	return errors.Is(err, errNoSearch) || errors.As(err, &refused) && refused.Status/100 == 4 && refused.Status != http.StatusTooManyRequests
}

func (c *Client) found(ctx context.Context, r request) ([]Found, error) {
	resp, err := c.ask(ctx, r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxFound))
	if err != nil {
		return nil, fmt.Errorf("read what was found: %w", err)
	}
	var answer struct {
		Results *[]Found
	}
	if json.Unmarshal(raw, &answer) != nil || answer.Results == nil {
		return nil, fmt.Errorf("search at %s: %w", r.at.host, errNoSearch)
	}
	return *answer.Results, nil
}

// named are the names that have the term, those first whose last part it is, then those whose last part begins with it.
func named(names []string, term string) []string {
	term = strings.ToLower(term)
	rank := func(name string) int {
		last := name[strings.LastIndexByte(name, '/')+1:]
		switch {
		case name == term || last == term:
			return 0
		case strings.HasPrefix(last, term):
			return 1
		}
		return 2
	}
	out := slices.DeleteFunc(slices.Clone(names), func(name string) bool { return !strings.Contains(name, term) })
	slices.SortStableFunc(out, func(a, b string) int { return cmp.Compare(rank(a), rank(b)) })
	return out
}
