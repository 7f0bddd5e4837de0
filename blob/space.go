package blob

import (
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"github.com/opencontainers/go-digest"
)

// Space is what every blob takes on disk, with what was fetched of those that are not whole; what is being written without a
// known digest counts under the empty one.
func (s *Store) Space() (map[digest.Digest]int64, error) {
	total := map[digest.Digest]int64{}
	for _, dir := range []string{s.blobs, s.ingest} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return nil, fmt.Errorf("measure blobs: %w", err)
		}
		for _, e := range entries {
			info, err := e.Info()
			if err != nil {
				continue // removed meanwhile
			}
			d := digest.NewDigestFromEncoded(digest.SHA256, strings.TrimSuffix(e.Name(), partSuffix))
			if d.Validate() != nil {
				d = ""
			}
			total[d] += onDisk(info)
		}
	}
	return total, nil
}

// onDisk is the size of a file in whole blocks.
func onDisk(info fs.FileInfo) int64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return 512 * st.Blocks
	}
	return info.Size()
}
