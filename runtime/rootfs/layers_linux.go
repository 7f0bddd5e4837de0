package rootfs

import (
	"github.com/cove-containers/cove/sys"
)

// mapOverlay has the layers of the root show their files as the container's users'. What overlayfs itself makes in the writable
// one has to be made as the container's root: nobody else is mapped to anybody there.
func (r *Root) mapOverlay(o *Overlay) error {
	dirs, err := sys.OverlayDirs(o.Lower, o.Upper, o.Work)
	if err != nil {
		return err
	}
	if err := r.mapLayers(dirs); err != nil {
		return err
	}
	return r.actAsOwner()
}

// mapLayers is sys.MapDirs for those directories that are not mapped yet, in this mount namespace alone.
func (r *Root) mapLayers(dirs []string) error {
	users, err := r.settings.IDMap(nil, nil)
	if err != nil {
		return err
	}
	defer users.Close()
	var fresh []string
	for _, dir := range dirs {
		if !r.mapped[dir] {
			fresh = append(fresh, dir)
		}
	}
	if err := sys.MapDirs(fresh, users); err != nil {
		return err
	}
	if r.mapped == nil {
		r.mapped = map[string]bool{}
	}
	for _, dir := range fresh {
		r.mapped[dir] = true
	}
	return nil
}
