// Package checkpoint keeps the state of a running container on disk and makes processes of it again, by criu where that
// is installed. What is the engine's stays the engine's: the network namespace, the cgroup and every mount that is not
// the container's alone are external to criu, which finds them made ready when it restores.
//
// On disk:
//
//	<checkpoint>/
//	    *.img        criu's images
//	    dump.log     what criu said
//	    cove.json    what the images expect to find; written last, so that without it there is no checkpoint
package checkpoint

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/cove-containers/cove/sys"
)

// Options says what is kept or restored, and how.
type Options struct {
	// Criu is the program.
	Criu string
	// Images is the checkpoint's folder. Work is where criu's log goes when it restores; empty: Images.
	Images, Work string
	// LeaveRunning lets the container go on after its checkpoint; else it is killed.
	LeaveRunning bool `json:",omitempty"`
	// TCPEstablished, ExternalSockets, FileLocks and ShellJob allow what criu else refuses to keep.
	TCPEstablished, ExternalSockets, FileLocks, ShellJob bool `json:",omitempty"`
}

// recordFile is the file without which a folder is no checkpoint.
const recordFile = "cove.json"

// record is what images expect to find when they are restored.
type record struct {
	// Mounts are the places of mounts that criu does not make itself.
	Mounts []string
	// Streams are criu's names of standard input, output and error; empty: not from outside the container.
	Streams [3]string
	// Program is what the first process runs where that is the runtime's init.
	Program *program `json:",omitempty"`
	// Sizes are those of the images: of one that is cut short criu reads without end.
	Sizes map[string]int64
	// Network tells that the network namespace is not the host's.
	Network bool
}

// program is the file of a running program, which has to be the same when it is restored: it is mapped, not kept.
type program struct{ Key, Digest string }

func digestOf(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// Exists tells whether a folder has a whole checkpoint.
func Exists(images string) bool {
	_, err := os.Lstat(filepath.Join(images, recordFile))
	return err == nil
}

func readRecord(images string) (r record, err error) {
	text, err := os.ReadFile(filepath.Join(images, recordFile))
	if errors.Is(err, os.ErrNotExist) {
		return r, errdefs.ErrNotFound.WithMessage(fmt.Sprintf("%s is no checkpoint", images))
	}
	if err == nil {
		err = json.Unmarshal(text, &r)
	}
	if err == nil {
		err = r.check(images)
	}
	if err != nil {
		return r, fmt.Errorf("read checkpoint: %w", err)
	}
	return r, nil
}

func (r record) check(images string) error {
	sizes, err := sizesOf(images)
	for name, size := range r.Sizes {
		if err == nil && sizes[name] != size {
			err = errdefs.ErrDataLoss.WithMessage(fmt.Sprintf("%s is damaged: it has %d bytes instead of %d", name, sizes[name], size))
		}
	}
	return err
}

func sizesOf(images string) (map[string]int64, error) {
	entries, err := os.ReadDir(images)
	if err != nil {
		return nil, err
	}
	sizes := map[string]int64{}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			return nil, err
		}
		if strings.HasSuffix(e.Name(), ".img") {
			sizes[e.Name()] = info.Size()
		}
	}
	return sizes, nil
}

// write makes the checkpoint whole and durable.
func (r record) write(images string) (err error) {
	if r.Sizes, err = sizesOf(images); err != nil {
		return err
	}
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	dir, err := os.Open(images)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := sys.SyncFileSystem(sys.Borrow(dir)); err != nil {
		return err
	}
	part := filepath.Join(images, recordFile+".part")
	if err := errors.Join(os.WriteFile(part, text, 0o600), os.Rename(part, filepath.Join(images, recordFile))); err != nil {
		return fmt.Errorf("write checkpoint: %w", err)
	}
	return sys.SyncFileSystem(sys.Borrow(dir))
}

// errorsIn gives the last of what criu complains of in its log.
func errorsIn(log string) string {
	text, err := os.ReadFile(log)
	if err != nil {
		return ""
	}
	var last []string
	for line := range strings.Lines(string(text)) {
		if _, complaint, found := strings.Cut(line, "Error ("); found {
			last = append(last, "("+strings.TrimSpace(complaint))
		}
		if strings.Contains(line, " FAILED.") {
			break // what follows is about the end of criu itself
		}
	}
	return strings.Join(last[max(0, len(last)-complaints):], "; ")
}

// complaints is how many of criu's errors are passed on: the last names the step that failed, those before it why.
const complaints = 4
