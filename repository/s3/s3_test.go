package s3

import (
	"fmt"
	"os"
	"testing"

	"github.com/cove-containers/cove/repository"
	"github.com/cove-containers/cove/repository/contract"
	"github.com/cove-containers/cove/testkit"
)

var server *testkit.S3 // of all tests here; each has a bucket of its own

func TestMain(m *testing.M) {
	var err error
	if server, err = testkit.NewS3(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	server.Close()
	os.Exit(code)
}

func config(t *testing.T) Config {
	t.Helper()
	bucket, err := server.NewBucket()
	if err != nil {
		t.Fatal(err)
	}
	return Config{Endpoint: server.URL, Bucket: bucket, AccessKey: server.AccessKey, SecretKey: server.SecretKey}
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
