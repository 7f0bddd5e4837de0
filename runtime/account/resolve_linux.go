package account

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/cove-containers/cove/sys"
)

// Resolve gives a process's identity: user where it is given, else the document's numbers. The groups of a user that
// was looked up include its own.
func Resolve(root *os.File, document specs.User, user string, groups []string) (Identity, error) {
	passwd, err := openAccounts(root, "etc/passwd")
	if err != nil {
		return Identity{}, err
	}
	defer passwd.Close()
	groupFile, err := openAccounts(root, "etc/group")
	if err != nil {
		return Identity{}, err
	}
	defer groupFile.Close()
	var id Identity
	if user == "" {
		id = Identity{UID: document.UID, GID: document.GID, Groups: document.AdditionalGids, Home: "/"}
		a, known, err := findAccount(passwd.reader(), func(a account) bool { return a.uid == int(document.UID) })
		if err != nil {
			return Identity{}, fmt.Errorf("read passwd file: %w", err)
		}
		if known && a.home != "" {
			id.Home = a.home
		}
	} else {
		if id, err = lookUp(user, passwd.reader(), groupFile.reader()); err != nil {
			return Identity{}, err
		}
		id.Groups = append([]uint32{id.GID}, id.Groups...)
	}
	more, err := lookUpGroups(groups, groupFile.reader())
	if err != nil {
		return Identity{}, err
	}
	id.Groups = once(append(id.Groups, more...))
	return id, nil
}

// once gives each group once, in the order they come in.
func once(groups []uint32) []uint32 {
	seen := map[uint32]bool{}
	return slices.DeleteFunc(slices.Clone(groups), func(g uint32) bool {
		was := seen[g]
		seen[g] = true
		return was
	})
}

// accounts is a passwd or group file, or none.
type accounts struct{ *os.File }

// openAccounts opens a file inside the root; one that is missing or no regular file is empty. A device is not even
// opened: this process may open any.
func openAccounts(root *os.File, name string) (accounts, error) {
	found, err := sys.OpenPathInRoot(root, name, true)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP):
		return accounts{}, nil
	case err != nil:
		return accounts{}, err
	}
	defer found.Close()
	if info, err := found.Stat(); err != nil || !info.Mode().IsRegular() {
		return accounts{}, err
	}
	f, err := sys.Reopen(found, os.O_RDONLY)
	return accounts{f}, err
}

// reader reads the file from its beginning.
func (a accounts) reader() io.Reader {
	if a.File == nil {
		return nil
	}
	if _, err := a.Seek(0, io.SeekStart); err != nil {
		return nil
	}
	return a.File
}

// Close closes the file, if there is one.
func (a accounts) Close() error {
	if a.File == nil {
		return nil
	}
	return a.File.Close()
}
