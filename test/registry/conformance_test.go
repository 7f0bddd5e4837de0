package registry_test

import (
	"errors"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/cove-containers/cove/registry"
	"github.com/cove-containers/cove/repository"
	"github.com/cove-containers/cove/repository/local"
	"github.com/cove-containers/cove/repository/s3"
	"github.com/cove-containers/cove/testkit"
)

// TestConformance runs the suite of the distribution specification, with every call and every kind of data it knows switched on, against
// a registry in a folder and one in an S3 store. Only manifests whose content is absent are left out, as the specification
// leaves them to the registry: this one refuses them.
func TestConformance(t *testing.T) {
	build := exec.Command("go", "tool", "-n", "conformance")
	build.Dir = filepath.Join("..", "conformance")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off")
	path, err := build.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Logf("%s", exit.Stderr)
		}
		t.Fatalf("build the conformance suite: %v", err)
	}
	for name, open := range map[string]func(*testing.T) repository.Storage{
		"local": func(t *testing.T) repository.Storage {
			s, err := local.Open(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			return s
		},
		"s3": func(t *testing.T) repository.Storage {
			server, err := testkit.NewS3()
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(server.Close)
			s, err := s3.Open(t.Context(), s3.Config{Endpoint: server.URL, Bucket: server.Bucket, AccessKey: server.AccessKey, SecretKey: server.SecretKey})
			if err != nil {
				t.Fatal(err)
			}
			return s
		},
	} {
		t.Run(name, func(t *testing.T) { conform(t, strings.TrimSpace(string(path)), open(t)) })
	}
}

var (
	count   = regexp.MustCompile(`(?m)^  (\w+)\.*: +(\d+)$`)
	verdict = regexp.MustCompile(`(?m)^ *(OCI Conformance Test[^:]*|[\w -]+?)\.*: +(Pass|Skip|FAIL|Fail|Error|Unknown|Disabled)$`)
)

func conform(t *testing.T, suite string, storage repository.Storage) {
	store, err := repository.Open(t.Context(), storage, repository.Config{})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(registry.New(registry.Parts{Store: store}))
	defer server.Close()
	dir := t.TempDir()
	run := exec.Command(suite)
	run.Dir = dir
	run.Env = append(os.Environ(),
		"OCI_REGISTRY="+strings.TrimPrefix(server.URL, "http://"), "OCI_TLS=disabled", "OCI_VERSION=dev", "OCI_RESULTS_DIR="+dir,
		"OCI_API_BLOBS_DIGEST_HEADER=true", "OCI_API_BLOBS_UPLOAD_CANCEL=true", "OCI_API_MANIFESTS_DIGEST_HEADER=true",
		"OCI_API_MANIFESTS_TAG_PARAM=true", "OCI_DATA_SPARSE=false")
	out, err := run.CombinedOutput()
	if err != nil {
		t.Errorf("the suite: %v", err)
	}
	counts := map[string]string{}
	for _, m := range count.FindAllStringSubmatch(string(out), -1) {
		counts[strings.ToLower(m[1])] = m[2]
	}
	for _, m := range verdict.FindAllStringSubmatch(string(out), -1) {
		if m[2] != "Pass" && m[1] != "Sparse Manifests" {
			t.Errorf("%s: %s", m[1], m[2])
		}
	}
	if counts["fail"] != "0" || counts["error"] != "0" || counts["skip"] != "0" || len(counts["pass"]) < 3 {
		t.Errorf("counts %v", counts)
	}
	t.Logf("%v", counts)
	if t.Failed() {
		t.Logf("%s", out)
	}
}
