package testkit

import (
	"os"
	"path/filepath"
	"testing"
)

// OnProjects runs test in each folder of COVE_TEST_PROJECTS, which lie on file systems that keep limits of projects.
func OnProjects(t *testing.T, test func(t *testing.T, folder string)) {
	t.Helper()
	folders := filepath.SplitList(os.Getenv("COVE_TEST_PROJECTS"))
	if len(folders) == 0 {
		t.Skip("needs folders on file systems that keep limits of projects: COVE_TEST_PROJECTS; scripts/vm-test has some")
	}
	for _, folder := range folders {
		t.Run(filepath.Base(folder), func(t *testing.T) { test(t, folder) })
	}
}
