package remote

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/cove-containers/cove/testkit"
)

func TestSearch(t *testing.T) {
	const answer = `{"num_results":2,"results":[{"name":"a","description":"d","star_count":7,"is_official":true},{"name":"b/c"},{"name":"d"}]}`
	for name, test := range map[string]struct {
		faults testkit.Faults
		limit  int
		want   string
		kind   error
	}{
		"its own search":                    {testkit.Faults{Search: []byte(answer)}, 2, "a 7 true, b/c 0 false", nil},
		"nothing found":                     {testkit.Faults{Search: []byte(`{"results":[]}`)}, 9, "", nil},
		"the catalog":                       {testkit.Faults{}, 9, "HOST/team/app 0 false, HOST/app/apple 0 false, HOST/app/x 0 false, HOST/my-app 0 false", nil},
		"an account":                        {testkit.Faults{Auth: "bearer", User: "u", Password: "p"}, 1, "HOST/team/app 0 false", nil},
		"a page instead of an answer":       {testkit.Faults{Search: []byte("<html>")}, 1, "HOST/team/app 0 false", nil},
		"another document":                  {testkit.Faults{Search: []byte(`{"errors":[]}`)}, 1, "HOST/team/app 0 false", nil},
		"neither search nor catalog":        {testkit.Faults{NoCatalog: true}, 9, "", errdefs.ErrNotImplemented},
		"an account that is not the user's": {testkit.Faults{Auth: "basic", User: "u", Password: "other"}, 9, "", errdefs.ErrUnauthenticated},
	} {
		r, err := testkit.NewRegistry("127.0.0.1:0", test.faults, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		for _, repository := range []string{"other", "app/x", "app/apple", "team/app", "my-app"} {
			r.PutManifest(repository, "1", "application/json", []byte("{}"))
		}
		c, err := New(Config{})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		found, err := c.Search(t.Context(), r.Host(), "app", test.limit, NewSession(Credentials{Username: "u", Password: "p"}))
		if !errors.Is(err, test.kind) || test.kind == nil && err != nil {
			t.Errorf("%s: %v", name, err)
		}
		var got []string
		for _, f := range found {
			got = append(got, fmt.Sprintf("%s %d %t", strings.Replace(f.Name, r.Host(), "HOST", 1), f.Stars, f.Official))
		}
		if strings.Join(got, ", ") != test.want {
			t.Errorf("%s: got %q, want %q", name, got, test.want)
		}
	}
}
