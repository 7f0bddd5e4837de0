package s3

import (
	"os"
	"sync"
	"testing"

	"github.com/cove-containers/cove/repository"
	"github.com/cove-containers/cove/repository/contract"
	"github.com/cove-containers/cove/testkit"
)

// running is the server of all tests here; each has a bucket of its own.
var running *testkit.S3

var server = sync.OnceValues(func() (s *testkit.S3, err error) {
	s, err = testkit.NewS3()
	running = s
	return s, err
})

func TestMain(m *testing.M) {
	code := m.Run()
	if running != nil {
		running.Close()
	}
	os.Exit(code)
}

func config(t *testing.T) Config {
	t.Helper()
	if testing.Short() {
		t.Skip("needs an S3 server, whose first build takes minutes")
	}
	s, err := server()
	if err != nil {
		t.Fatal(err)
	}
	bucket, err := s.NewBucket()
	if err != nil {
		t.Fatal(err)
	}
	return Config{Endpoint: s.URL, Bucket: bucket, AccessKey: s.AccessKey, SecretKey: s.SecretKey}
}

func open(t *testing.T, c Config) *Store {
	t.Helper()
	s, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestContract(t *testing.T) {
	for _, prefix := range []string{"", "some/prefix"} {
		t.Run("prefix "+prefix, func(t *testing.T) {
			contract.Test(t, func(t *testing.T) repository.Storage {
				c := config(t)
				c.Prefix = prefix
				return open(t, c)
			})
		})
	}
}
