package git

import (
	"os"
	"path"
	"runtime"
	"time"

	"github.com/cove-containers/cove/sys"
)

// touchLink sets the time of a link itself.
func touchLink(root *os.Root, name string, at time.Time) error {
	dir, err := root.Open(path.Dir(name))
	if err != nil {
		return err
	}
	defer dir.Close()
	t := sys.Timespec{Sec: at.Unix(), Nsec: int64(at.Nanosecond())}
	err = sys.TimesAt(sys.Borrow(dir), path.Base(name), t, t)
	runtime.KeepAlive(dir)
	return err
}
