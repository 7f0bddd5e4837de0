package file

import (
	"bufio"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"github.com/moby/buildkit/solver/pb"

	"github.com/cove-containers/cove/sys"
)

// maxAccounts is the largest file of users or groups that is read.
const maxAccounts = 10 << 20

// owner is a numeric user and group.
type owner struct{ uid, gid int }

// findOwner is who an action says its files shall belong to; nil where it says nothing. look gives the file system whose
// users and groups a name is looked up in. Names that are not there mean root, as in BuildKit.
func findOwner(ctx context.Context, o *pb.ChownOpt, look func(ctx context.Context, input int64) (*os.File, error)) (*owner, error) {
	if o == nil {
		return nil, nil
	}
	var found owner
	switch u := o.User.GetUser().(type) {
	case *pb.UserOpt_ByID:
		found = owner{int(u.ByID), int(u.ByID)}
	case *pb.UserOpt_ByName:
		fields, err := account(ctx, "/etc/passwd", u.ByName, look)
		if err != nil {
			return nil, err
		}
		found = owner{number(fields, 2), number(fields, 3)}
	}
	switch g := o.Group.GetUser().(type) {
	case *pb.UserOpt_ByID:
		found.gid = int(g.ByID)
	case *pb.UserOpt_ByName:
		fields, err := account(ctx, "/etc/group", g.ByName, look)
		if err != nil {
			return nil, err
		}
		if len(fields) > 2 {
			found.gid = number(fields, 2)
		}
	}
	return &found, nil
}

// number is a field of an account's line, 0 where there is none.
func number(fields []string, i int) int {
	if i >= len(fields) {
		return 0
	}
	n, err := strconv.ParseUint(fields[i], 10, 32)
	if err != nil {
		return 0
	}
	return int(n)
}

// account is the line of a name, cut at its colons; nil when there is none.
func account(ctx context.Context, file string, by *pb.NamedUserOpt, look func(context.Context, int64) (*os.File, error)) ([]string, error) {
	root, err := look(ctx, by.GetInput())
	if err != nil {
		return nil, err
	}
	f, err := sys.OpenInRoot(root, file, os.O_RDONLY, 0)
	if errors.Is(err, fs.ErrNotExist) || sys.IsNotDir(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() || st.Size() > maxAccounts {
		return nil, invalid("%s is no file of accounts, or larger than %d bytes", file, maxAccounts)
	}
	lines := bufio.NewScanner(io.LimitReader(f, maxAccounts))
	for lines.Scan() {
		fields := strings.Split(strings.TrimSpace(lines.Text()), ":")
		if fields[0] == by.GetName() {
			return fields, nil
		}
	}
	return nil, lines.Err()
}
