package archive

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/cove-containers/cove/sys"
)

// Merge moves everything in the layer over down into the layer onto, on which it lies, and which lies on those below,
// the topmost first. Seen from above nothing changes, at no moment: who is cut short can do it again, and loses at most
// the times of directories. What is left of over is its root. Nobody must have either mounted.
func Merge(ctx context.Context, over, onto *os.File, below []*os.File) error {
	low, err := OpenPile(below...)
	if err != nil {
		return fmt.Errorf("merge layers: %w", err)
	}
	defer low.Close()
	dirs, err := OpenPile(over, onto)
	if err != nil {
		return fmt.Errorf("merge layers: %w", err)
	}
	defer dirs.Close()
	m := merger{ctx: ctx}
	if err := m.directory(dirs[0], dirs[1], low); err != nil {
		return fmt.Errorf("merge layers: %w", err)
	}
	return nil
}

type merger struct{ ctx context.Context }

// directory moves what is in over into onto, and gives onto the attributes of over.
func (m *merger) directory(over, onto sys.FD, low Pile) error {
	st, err := sys.StatAt(over, "")
	if err != nil {
		return err
	}
	attrs, err := readAttributes(over, "", &st)
	if err != nil {
		return err
	}
	names, err := Pile{over}.Names()
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := m.ctx.Err(); err != nil {
			return err
		}
		if err := m.entry(over, onto, low, name); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return become(onto, over, attrs)
}

// entry moves one name. Until the last step over has it, and hides what is done to onto.
func (m *merger) entry(over, onto sys.FD, low Pile, name string) error {
	now, err := sys.StatAt(over, name)
	if err != nil {
		return err
	}
	was, err := sys.StatAt(onto, name)
	there := err == nil
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	isDir, wasDir := now.Kind() == sys.KindDir, there && was.Kind() == sys.KindDir
	switch {
	case isDir && wasDir:
		return m.both(over, onto, low, name)
	case isDir && there:
		if err := sys.SetXattrAt(over, name, opaqueAttribute, []byte("y")); err != nil { // as it is, with a file or a whiteout below it
			return err
		}
		if err := sys.UnlinkAt(onto, name); err != nil {
			return err
		}
	case wasDir:
		if err := sys.RemoveTreeAt(onto, name); err != nil {
			return err
		}
	}
	if now.Whiteout() {
		needed, err := has(low, name)
		if err != nil {
			return err
		}
		if !needed {
			if there && !wasDir {
				err = sys.UnlinkAt(onto, name)
			}
			if err == nil {
				err = sys.UnlinkAt(over, name)
			}
			return err
		}
	}
	return sys.RenameAt(over, name, onto, name)
}

// both merges a directory that both have.
func (m *merger) both(over, onto sys.FD, low Pile, name string) error {
	value, err := sys.GetXattrAt(over, name, opaqueAttribute)
	if err != nil {
		return err
	}
	if string(value) == "y" {
		if err := sys.RemoveTreeAt(onto, name); err != nil {
			return err
		}
		return sys.RenameAt(over, name, onto, name)
	}
	kid, opaque, err := Pile{over, onto}.Open(name, 0)
	if err != nil {
		return err
	}
	defer kid.Close()
	var lowKid Pile
	if !opaque {
		at, st, err := low.Find(name)
		if err == nil && st.Kind() == sys.KindDir {
			lowKid, _, err = low.Open(name, at)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		defer lowKid.Close()
	}
	if err := m.directory(kid[0], kid[1], lowKid); err != nil {
		return err
	}
	return sys.RmdirAt(over, name)
}

// has tells whether a pile shows a name.
func has(p Pile, name string) (bool, error) {
	_, st, err := p.Find(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && !st.Whiteout(), err
}

// become gives a directory the attributes that another one had, and no others.
func become(dir, other sys.FD, attrs *Attributes) error {
	names, err := sys.ListXattrAt(dir, "")
	if err != nil {
		return err
	}
	for _, name := range names {
		if strings.HasPrefix(name, overlayPrefix) && !strings.HasPrefix(name, overlayEscaped) {
			continue
		}
		if err := sys.RemoveXattrAt(dir, "", name); err != nil {
			return err
		}
	}
	impure, err := sys.GetXattrAt(other, "", overlayPrefix+"impure")
	if err == nil && impure != nil {
		err = sys.SetXattrAt(dir, "", overlayPrefix+"impure", impure)
	}
	if err != nil {
		return err
	}
	return attrs.set(dir, "", false)
}
