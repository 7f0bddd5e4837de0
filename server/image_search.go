package server

import (
	"cmp"
	"net/http"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/registry"

	"github.com/cove-containers/cove/api"
	"github.com/cove-containers/cove/ref"
	"github.com/cove-containers/cove/remote"
)

// imageSearch asks a registry for repositories: the one before the term's first slash, else Docker Hub.
func (s *Server) imageSearch(c *call) error {
	filters, err := c.query.filters()
	if err != nil {
		return err
	}
	wanted, err := searchFilter(filters)
	if err != nil {
		return err
	}
	limit, err := c.query.int("limit")
	if err != nil || limit != nil && *limit < 0 {
		return bad("invalid limit specified")
	}
	n := 25
	if limit != nil {
		n = cmp.Or(*limit, n)
	}
	if n > 100 {
		return bad("limit " + strconv.Itoa(n) + " is outside the range of [1, 100]")
	}
	answer := []registry.SearchResult{}
	if automated, err := filters.Bool("is-automated", false); err != nil || automated {
		if err != nil {
			return err
		}
		return c.json(http.StatusOK, answer) // there are none any more
	}
	host, term, err := searchTerm(c.query.get("term"))
	if err != nil {
		return err
	}
	found, err := s.Registry.Search(c.Context(), host, term, n, remote.NewSession(credentials(c.Header)))
	if err != nil {
		return err
	}
	for _, f := range found {
		if wanted(f) {
			answer = append(answer, registry.SearchResult{Name: f.Name, Description: f.Description, StarCount: f.Stars, IsOfficial: f.Official})
		}
	}
	return c.json(http.StatusOK, answer)
}

// searchFilter tells which of the repositories found are wanted.
func searchFilter(filters api.Filters) (func(remote.Found) bool, error) {
	if err := filters.Check("is-automated", "is-official", "stars"); err != nil {
		return nil, err
	}
	official, err := filters.Bool("is-official", false)
	if err != nil {
		return nil, err
	}
	stars := 0
	for _, value := range filters.Get("stars") {
		n, err := strconv.Atoi(value)
		if err != nil {
			return nil, bad("invalid filter 'stars=" + value + "'")
		}
		stars = max(stars, n)
	}
	return func(f remote.Found) bool {
		return f.Stars >= stars && (!filters.Has("is-official") || f.Official == official)
	}, nil
}

// searchTerm parts the registry from what is looked for there.
func searchTerm(text string) (host, term string, err error) {
	if strings.Contains(text, "://") {
		return "", "", bad("invalid repository name: repository name (" + text + ") should not have a scheme")
	}
	host, term, ok := strings.Cut(text, "/")
	if !ok || !strings.ContainsAny(host, ".:") && host != "localhost" {
		host, term = ref.DefaultHost, text
	}
	if host == "index.docker.io" || host == ref.DefaultHost {
		host, term = ref.DefaultHost, strings.TrimPrefix(term, "library/")
	}
	return host, term, nil
}
