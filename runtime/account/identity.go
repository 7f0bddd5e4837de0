// Package account finds out who a user is in a container: in the files passwd and group of its root, which may hold
// anything.
package account

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
)

// Identity is who a process runs as.
type Identity struct {
	UID, GID uint32
	Groups   []uint32
	Home     string
}

// maxID is the largest user or group number that is accepted.
const maxID = 1<<31 - 1

// Errors in the words scripts look for.
var (
	errNoUser  = errors.New("no matching entries in passwd file")
	errNoGroup = errors.New("no matching entries in group file")
	errIDRange = fmt.Errorf("uids and gids must be in range 0-%d", maxID)
)

// account is a line of passwd; group one of group.
type account struct {
	name     string
	uid, gid int
	home     string
}

type group struct {
	name    string
	gid     int
	members []string
}

// longestLine of passwd and group files is what one line may measure: group lines list all members.
const longestLine = 1 << 20

// eachLine calls f with the fields of each line that is no comment.
func eachLine(r io.Reader, f func(fields []string) (more bool)) error {
	if r == nil {
		return nil
	}
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 4096), longestLine)
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		if !f(strings.Split(line, ":")) {
			return nil
		}
	}
	return lines.Err()
}

// findAccount gives the first account that match accepts. Lines that are too short count as far as they go.
func findAccount(passwd io.Reader, match func(account) bool) (found account, ok bool, err error) {
	err = eachLine(passwd, func(f []string) bool {
		f = append(f, "", "", "", "", "")
		a := account{name: f[0], home: f[5]}
		a.uid, a.gid = number(f[2]), number(f[3])
		if match(a) {
			found, ok = a, true
		}
		return !ok
	})
	return found, ok, err
}

// findGroups gives every group that match accepts.
func findGroups(file io.Reader, match func(group) bool) (found []group, err error) {
	err = eachLine(file, func(f []string) bool {
		f = append(f, "", "", "")
		g := group{name: f[0], gid: number(f[2]), members: strings.Split(f[3], ",")}
		if match(g) {
			found = append(found, g)
		}
		return true
	})
	return found, err
}

// number reads a number of a file. One that is not there is 0, as in the files' other readers; what is none is not valid, for
// else it were root's.
func number(s string) int {
	if s == "" {
		return 0
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		return -1
	}
	return n
}

// lookUp finds the user "name[:group]", each part a name or number; an empty name is user 0. passwd and group are
// the container's files, nil where it has none. What is a number is no name, though the files may have it for one: who says
// 1000 has never meant the account, root's perhaps, that an image calls so. A name the files do not know is errdefs.ErrInvalidArgument.
func lookUp(user string, passwd, groups io.Reader) (Identity, error) {
	name, groupName, _ := strings.Cut(user, ":")
	uid, uidErr := strconv.Atoi(name)
	gid, gidErr := strconv.Atoi(groupName)
	a, known, err := findAccount(passwd, func(a account) bool {
		if name == "" || uidErr == nil {
			return a.uid == uid
		}
		return a.name == name
	})
	if err != nil {
		return Identity{}, fmt.Errorf("read passwd file: %w", err)
	}
	id := Identity{Home: "/"}
	switch {
	case known && (!validID(a.uid) || !validID(a.gid)):
		return Identity{}, invalid(errIDRange)
	case known:
		id.UID, id.GID = uint32(a.uid), uint32(a.gid)
		if a.home != "" {
			id.Home = a.home
		}
	case name != "" && uidErr != nil:
		return Identity{}, invalid(fmt.Errorf("unable to find user %s: %w", name, errNoUser))
	case !validID(uid):
		return Identity{}, invalid(errIDRange)
	default:
		id.UID = uint32(uid)
	}
	if !known && groupName == "" {
		return id, nil
	}
	found, err := findGroups(groups, func(g group) bool {
		if !validID(g.gid) {
			return false
		}
		if groupName != "" {
			return g.is(groupName, gid, gidErr == nil)
		}
		return isMember(g, a.name)
	})
	switch {
	case err != nil:
		return Identity{}, fmt.Errorf("read group file: %w", err)
	case groupName == "":
		for _, g := range found {
			id.Groups = append(id.Groups, uint32(g.gid))
		}
	case len(found) > 0:
		id.GID = uint32(found[0].gid)
	case gidErr != nil:
		return Identity{}, invalid(fmt.Errorf("unable to find group %s: %w", groupName, errNoGroup))
	case !validID(gid):
		return Identity{}, invalid(errIDRange)
	default:
		id.GID = uint32(gid)
	}
	return id, nil
}

// validID refuses numbers the kernel does not take as they stand: -1 leaves an identity as it is, which is root's.
func validID(n int) bool { return n >= 0 && n <= maxID }

// is tells whether the group is the one with a number or, where that is none, with a name.
func (g group) is(name string, number int, isNumber bool) bool {
	if isNumber {
		return g.gid == number
	}
	return g.name == name
}

func isMember(g group, user string) bool {
	for _, m := range g.members {
		if m == user {
			return true
		}
	}
	return false
}

// lookUpGroups gives the numbers of groups given by name or number.
func lookUpGroups(names []string, file io.Reader) ([]uint32, error) {
	if len(names) == 0 {
		return nil, nil
	}
	all, err := findGroups(file, func(group) bool { return true })
	if err != nil {
		return nil, fmt.Errorf("read group file: %w", err)
	}
	var ids []uint32
	for _, name := range names {
		id, err := groupID(name, all)
		if err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, nil
}

func groupID(name string, all []group) (uint32, error) {
	gid, err := strconv.Atoi(name)
	for _, g := range all {
		if validID(g.gid) && g.is(name, gid, err == nil) {
			return uint32(g.gid), nil
		}
	}
	switch {
	case err != nil:
		return 0, invalid(fmt.Errorf("unable to find group %s: %w", name, errNoGroup))
	case !validID(gid):
		return 0, invalid(errIDRange)
	}
	return uint32(gid), nil
}

// invalid makes err the caller's mistake without changing its words.
func invalid(err error) error { return errdefs.ErrInvalidArgument.WithMessage(err.Error()) }
