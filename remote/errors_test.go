package remote

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/containerd/errdefs"
)

// TestWordsOfRegistriesAreOnlyRead: they neither write lines of their own nor steer a terminal.
func TestWordsOfRegistriesAreOnlyRead(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		w.Write([]byte(`{"errors":[{"code":"DENIED","message":"\u001b[2Jno\u202e, naïve one\r\nStatus: Downloaded"}]}`))
	}))
	defer srv.Close()
	n := name(t, srv.Listener.Addr().String()+"/x:1")
	_, _, err := client(t, Config{}).Manifest(t.Context(), n, NewSession(Credentials{}))
	if want := "denied:  [2Jno , naïve one  Status: Downloaded"; !errdefs.IsPermissionDenied(err) || err.Error() != want {
		t.Errorf("%q, want %q", err, want)
	}
}
