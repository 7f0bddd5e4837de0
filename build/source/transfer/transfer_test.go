package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tonistiigi/fsutil/types"
)

// client is one that sends what a test wants, and answers requests as a test wants.
type client struct {
	out    chan *types.Packet
	answer func(c *client, id uint32)
	told   []*types.Packet
	err    error // instead of the end
}

func newClient(answer func(c *client, id uint32), stats ...*types.Stat) *client {
	c := &client{out: make(chan *types.Packet, 1000), answer: answer}
	for _, st := range stats {
		c.out <- &types.Packet{Type: types.PACKET_STAT, Stat: st}
	}
	c.out <- &types.Packet{Type: types.PACKET_STAT}
	return c
}

func (c *client) Send(p *types.Packet) error {
	c.told = append(c.told, p)
	switch p.Type {
	case types.PACKET_REQ:
		c.answer(c, p.ID)
	case types.PACKET_FIN, types.PACKET_ERR:
		close(c.out)
	}
	return nil
}

func (c *client) Recv() (*types.Packet, error) {
	p, ok := <-c.out
	if !ok {
		return nil, io.EOF
	}
	if p == nil {
		return nil, c.err
	}
	return p, nil
}

func (c *client) data(id uint32, text string) {
	if text != "" {
		c.out <- &types.Packet{Type: types.PACKET_DATA, ID: id, Data: []byte(text)}
	}
	c.out <- &types.Packet{Type: types.PACKET_DATA, ID: id}
}

func honest(c *client, id uint32) { c.data(id, fmt.Sprint("file ", id)) }

func regular(path string) *types.Stat { return &types.Stat{Path: path, Mode: 0o644, ModTime: 1e9} }

func dir(path string) *types.Stat {
	return &types.Stat{Path: path, Mode: uint32(fs.ModeDir | 0o755), ModTime: 1e9}
}

func receive(t *testing.T, c *client) (string, error) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: owners, devices")
	}
	top := t.TempDir()
	at := filepath.Join(top, "in")
	if err := os.Mkdir(at, 0o755); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	_, err := Receive(ctx, c, Options{Begin: func() (*os.File, error) { return os.Open(at) }})
	if left, _ := os.ReadDir(top); len(left) != 1 {
		t.Errorf("written outside: %v", left)
	}
	return at, err
}

func TestHonestClient(t *testing.T) {
	fifo := regular("p")
	fifo.Mode |= uint32(fs.ModeNamedPipe)
	link := regular("z")
	link.Linkname = "a/x"
	sym := regular("s")
	sym.Mode, sym.Linkname = uint32(fs.ModeSymlink|0o777), "../../outside"
	suid := regular("u")
	suid.Mode, suid.Uid, suid.Gid = uint32(fs.ModeSetuid|0o755), 5, 6
	at, err := receive(t, newClient(honest, dir("a"), regular("a/x"), fifo, sym, suid, link))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"a/x": "file 1", "z": "file 1", "u": "file 4"} {
		if text, err := os.ReadFile(filepath.Join(at, name)); err != nil || string(text) != want {
			t.Error(name, string(text), err)
		}
	}
	var st syscall.Stat_t
	if err := syscall.Stat(filepath.Join(at, "u"), &st); err != nil || st.Mode&0o7777 != 0o4755 || st.Uid != 5 || st.Gid != 6 || st.Mtim.Sec != 1 {
		t.Error(st, err)
	}
}

func TestHostileListings(t *testing.T) {
	long := strings.Repeat("x", 256)
	change := func(st *types.Stat, do func(*types.Stat)) *types.Stat { do(st); return st }
	special := func(mode fs.FileMode, major, minor int64) *types.Stat {
		return change(regular("dev"), func(st *types.Stat) { st.Mode, st.Devmajor, st.Devminor = uint32(mode), major, minor })
	}
	sym := change(regular("s"), func(st *types.Stat) { st.Mode, st.Linkname = uint32(fs.ModeSymlink|0o777), "/etc" })
	for name, stats := range map[string][]*types.Stat{
		"dots":             {regular("../x")},
		"dots inside":      {dir("a"), regular("a/../../x")},
		"just dots":        {dir("..")},
		"a dot":            {dir(".")},
		"absolute":         {regular("/etc/x")},
		"empty":            {regular("")},
		"unclean":          {dir("a"), regular("a//x")},
		"a slash behind":   {dir("a/")},
		"zero byte":        {regular("a\x00b")},
		"long":             {regular(long)},
		"deep":             {regular(strings.TrimSuffix(strings.Repeat("a/", 3000), "/"))},
		"twice":            {regular("a"), regular("a")},
		"backwards":        {regular("b"), regular("a")},
		"no parent":        {regular("a/x")},
		"in a file":        {regular("a"), regular("a/x")},
		"in a link":        {sym, regular("s/passwd")},
		"after its end":    {dir("a"), regular("b"), regular("a/x")},
		"link nowhere":     {change(regular("l"), func(st *types.Stat) { st.Linkname = "none" })},
		"link out":         {change(regular("l"), func(st *types.Stat) { st.Linkname = "../../etc/passwd" })},
		"link to itself":   {change(regular("l"), func(st *types.Stat) { st.Linkname = "l" })},
		"link to a dir":    {dir("d"), change(regular("l"), func(st *types.Stat) { st.Linkname = "d" })},
		"empty symlink":    {change(regular("s"), func(st *types.Stat) { st.Mode = uint32(fs.ModeSymlink) })},
		"whiteout":         {special(fs.ModeDevice|fs.ModeCharDevice, 0, 0)},
		"large device":     {special(fs.ModeDevice, 1<<40, 1)},
		"negative device":  {special(fs.ModeDevice, -1, 1)},
		"unknown kind":     {special(fs.ModeIrregular, 0, 0)},
		"two kinds":        {special(fs.ModeDir|fs.ModeSymlink, 0, 0)},
		"nobody's":         {change(regular("f"), func(st *types.Stat) { st.Uid = 1<<32 - 1 })},
		"overlay's xattrs": {change(dir("d"), func(st *types.Stat) { st.Xattrs = map[string][]byte{"trusted.overlay.opaque": []byte("y")} })},
	} {
		if _, err := receive(t, newClient(honest, stats...)); err == nil {
			t.Errorf("%s passed", name)
		}
	}
	for name, stats := range map[string][]*types.Stat{
		"huge":        {change(regular("f"), func(st *types.Stat) { st.Size = 1 << 62 })},
		"negative":    {change(regular("f"), func(st *types.Stat) { st.Size = -1 })},
		"far future":  {change(regular("f"), func(st *types.Stat) { st.ModTime = 1<<63 - 1 })},
		"before time": {change(regular("f"), func(st *types.Stat) { st.ModTime = -1 << 63 })},
		"not UTF-8":   {regular("\xff\xfe")},
		"a device":    {special(fs.ModeDevice|fs.ModeCharDevice, 1, 3)},
	} {
		if _, err := receive(t, newClient(honest, stats...)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestHostileData(t *testing.T) {
	for name, answer := range map[string]func(c *client, id uint32){
		"not asked for": func(c *client, id uint32) { c.data(id+7, "x") },
		"after its end": func(c *client, id uint32) { c.data(id, "x"); c.data(id, "y"); c.data(id+1, "z") },
		"an error":      func(c *client, id uint32) { c.out <- &types.Packet{Type: types.PACKET_ERR, Data: []byte("no")} },
		"the end":       func(c *client, id uint32) { c.out <- &types.Packet{Type: types.PACKET_FIN} },
		"more listing":  func(c *client, id uint32) { c.out <- &types.Packet{Type: types.PACKET_STAT, Stat: regular("z")} },
		"nonsense":      func(c *client, id uint32) { c.out <- &types.Packet{Type: 77} },
		"hanging up":    func(c *client, id uint32) { c.err = errors.New("gone"); c.out <- nil },
		"half a file": func(c *client, id uint32) {
			c.out <- &types.Packet{Type: types.PACKET_DATA, ID: id, Data: []byte("x")}
			c.err = io.EOF
			c.out <- nil
		},
	} {
		once := false
		c := newClient(func(c *client, id uint32) {
			if !once {
				once = true
				answer(c, id)
			}
		}, regular("a"), regular("b"))
		if _, err := receive(t, c); err == nil {
			t.Errorf("%s passed", name)
		}
	}
	many := newClient(func(c *client, id uint32) {
		c.out <- &types.Packet{Type: types.PACKET_DATA, ID: id, Data: []byte("x")}
	})
	<-many.out
	for i := range 200 {
		many.out <- &types.Packet{Type: types.PACKET_STAT, Stat: regular(fmt.Sprintf("%03d", i))}
	}
	many.out <- &types.Packet{Type: types.PACKET_STAT}
	if _, err := receive(t, many); err == nil || !strings.Contains(err.Error(), "at once") {
		t.Error(err)
	}
}

func TestAClientThatFallsSilent(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	c := newClient(func(*client, uint32) {}, regular("a"))
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	go func() { // as the call's own end would
		<-ctx.Done()
		c.err = ctx.Err()
		c.out <- nil
	}()
	at := t.TempDir()
	if _, err := Receive(ctx, c, Options{Begin: func() (*os.File, error) { return os.Open(at) }}); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

func FuzzListing(f *testing.F) {
	f.Add("a\na/b\nc", "", uint32(fs.ModeDir|0o755), int64(0))
	f.Add("a\n../b", "a", uint32(0o644), int64(1))
	f.Add("a\nb", "a", uint32(fs.ModeSymlink|0o777), int64(1))
	f.Fuzz(func(t *testing.T, paths, link string, mode uint32, dev int64) {
		if os.Geteuid() != 0 {
			t.Skip("needs root")
		}
		var stats []*types.Stat
		for i, p := range strings.Split(paths, "\n") {
			st := regular(p)
			if i%2 == 0 {
				st.Mode = mode
			} else {
				st.Linkname = link
			}
			st.Devmajor, st.Devminor = dev, dev>>8
			stats = append(stats, st)
			if len(stats) > 50 {
				break
			}
		}
		receive(t, newClient(honest, stats...))
	})
}
